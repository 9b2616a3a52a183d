/** Who is alive: a pure function of the last signs of life. Missed heartbeats make a server suspect, then dead. */
import type { ServerState } from '../../common/protocol/cluster.js'

export interface LivenessInput {
  readonly serverNo: number
  readonly state: ServerState
  readonly lastBeatMs: number
}

export interface LivenessLimits {
  readonly suspectAfterMs: number
  readonly deadAfterMs: number
}

/** The state that silence of this length leads to, or the present one. Only states that expect heartbeats change. */
export function stateAfterSilence(server: LivenessInput, nowMs: number, limits: LivenessLimits): ServerState {
  const silentMs = nowMs - server.lastBeatMs
  switch (server.state) {
    case 'starting':
    case 'serving':
    case 'draining':
    case 'suspect':
      if (silentMs >= limits.deadAfterMs) return 'dead'
      return silentMs >= limits.suspectAfterMs ? 'suspect' : server.state
    case 'dead':
    case 'maintenance':
    case 'decommissioned':
      return server.state
  }
}

/** Not heard of for too long, whatever comes of it. */
export const isAway = (state: ServerState): boolean => state === 'suspect' || state === 'dead'

/**
 * Whether a change of state is the loss of a server, counted once. A master that was stopped for a while (a sleeping
 * machine, a moved VM) finds servers dead that it never saw suspect: that is a loss too.
 */
export const isLoss = (from: ServerState | undefined, to: ServerState): boolean =>
  isAway(to) && from !== undefined && !isAway(from)
