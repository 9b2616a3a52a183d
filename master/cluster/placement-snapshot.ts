/** The servers as placement sees them, taken from the views of the moment. */
import { freeBytesOf, largestFreeBytesOf, usedBytesOf, type ServerView } from './server-view.js'
import type { PlacementServer } from '../placement/placement.js'

export function placementServer(view: ServerView): PlacementServer {
  const { serverNo, serverId, zone, rack, host } = view.record
  return {
    serverNo,
    serverId,
    zone,
    rack,
    host,
    state: view.state,
    largestFreeBytes: largestFreeBytesOf(view),
    freeBytes: freeBytesOf(view),
    usedBytes: usedBytesOf(view),
    load: view.load.writes + view.load.reads,
    ...latencyOf(view),
  }
}

/** Of the quickest disk that takes chunks: the server puts them there. Nothing is said while one of them has not been tried. */
function latencyOf(view: ServerView): { latencyMs?: number } {
  const writable = view.disks.filter((disk) => disk.state === 'ok').map((disk) => disk.latencyMs)
  if (writable.length === 0 || writable.includes(undefined)) return {}
  return { latencyMs: Math.min(...writable.map((latencyMs) => latencyMs ?? 0)) }
}
