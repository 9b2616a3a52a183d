/** Failure domains: how far apart copies lie, and whether a further server would bring them further apart. */

export interface Located {
  readonly zone: string
  readonly rack: string
  readonly host: string
}

export const zoneOf = (server: Located): string => server.zone
export const rackOf = (server: Located): string => `${server.zone}\0${server.rack}`
export const hostOf = (server: Located): string => `${rackOf(server)}\0${server.host}`

/** Widest first. */
const LEVELS = [zoneOf, rackOf, hostOf] as const

const distinct = (servers: readonly Located[], of: (server: Located) => string): number => new Set(servers.map(of)).size

/**
 * What a server must bring so that copies on `holders` lie further apart: a domain that none of them has, of the widest
 * level where they use fewer than they could. Undefined when they lie as far apart as `wanted` copies can.
 */
export function missingDomain(
  holders: readonly Located[],
  wanted: number,
  all: readonly Located[],
): ((server: Located) => boolean) | undefined {
  const of = LEVELS.find((level) => distinct(holders, level) < Math.min(wanted, distinct(all, level)))
  if (!of) return undefined
  const used = new Set(holders.map(of))
  return (server) => !used.has(of(server))
}

/** Whether copies stay as far apart, at every level, when the one on `from` moves to `to`. */
export function staysSpread(holders: readonly Located[], from: Located, to: Located): boolean {
  const after = [...holders.filter((holder) => holder !== from), to]
  return LEVELS.every((of) => distinct(after, of) >= distinct(holders, of))
}
