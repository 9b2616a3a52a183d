/** Who is alive: a pure function of the last signs of life. Missed heartbeats make a server suspect, then dead. */
import type { ServerState } from '../../common/protocol/cluster.js'
import type { ServerIntent } from '../store/operations/servers.js'

export interface LivenessInput {
  readonly state: ServerState
  readonly lastBeatMs: number
  readonly intent: ServerIntent
  /** Of maintenance, by the store's clock. */
  readonly intentUntilMs: number | null
}

export interface LivenessLimits {
  readonly suspectAfterMs: number
  readonly deadAfterMs: number
}

/** What a server that is heard of is, by the operator's wish. */
export function stateWhenHeard(server: Pick<LivenessInput, 'intent' | 'intentUntilMs'>, storeNowMs: number): ServerState {
  if (server.intent === 'drain') return 'draining'
  return server.intent === 'maintenance' && storeNowMs < (server.intentUntilMs ?? 0) ? 'maintenance' : 'serving'
}

/**
 * The state that silence of this length leads to, or the present one. Only states that expect heartbeats change; a
 * server in maintenance is one again when its grace is over.
 */
export function stateAfterSilence(server: LivenessInput, nowMs: number, storeNowMs: number, limits: LivenessLimits): ServerState {
  const silentMs = nowMs - server.lastBeatMs
  switch (server.state) {
    case 'starting':
    case 'serving':
    case 'draining':
    case 'suspect':
    case 'maintenance':
      if (stateWhenHeard(server, storeNowMs) === 'maintenance') return 'maintenance'
      if (silentMs >= limits.deadAfterMs) return 'dead'
      if (silentMs >= limits.suspectAfterMs) return 'suspect'
      return server.state === 'maintenance' ? 'serving' : server.state
    case 'dead':
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
