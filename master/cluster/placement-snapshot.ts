/** The servers as placement sees them, taken from the views of the moment. */
import { freeBytesOf, largestFreeBytesOf, type ServerView } from './server-view.js'
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
    load: view.load.writes + view.load.reads,
  }
}
