/** Sizes in bytes and times in milliseconds: constants, parsers for flags (`64MiB`, `500ms`), and formatters. */
import { CairnError } from './errors/cairn-error.js'

export const KiB = 1024
export const MiB = 1024 * KiB
export const GiB = 1024 * MiB
export const TiB = 1024 * GiB
export const PiB = 1024 * TiB

export const SECOND_MS = 1000
export const MINUTE_MS = 60 * SECOND_MS
export const HOUR_MS = 60 * MINUTE_MS
export const DAY_MS = 24 * HOUR_MS

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  K: KiB,
  KIB: KiB,
  M: MiB,
  MIB: MiB,
  G: GiB,
  GIB: GiB,
  T: TiB,
  TIB: TiB,
  P: PiB,
  PIB: PiB,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  PB: 1e15,
}

const TIME_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: SECOND_MS,
  m: MINUTE_MS,
  min: MINUTE_MS,
  h: HOUR_MS,
  d: DAY_MS,
}

/** Parses `64MiB`, `1.5G`, `100MB` or a plain number of bytes. @throws `USAGE` */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text.trim())
  const unit = SIZE_UNITS[(match?.[2] ?? '').toUpperCase()]
  if (!match || unit === undefined) {
    throw new CairnError('USAGE', `"${text}" is not a size. Write it like 64MiB, 1.5GiB or 1000000.`)
  }
  const bytes = Math.round(Number(match[1]) * unit)
  if (!Number.isSafeInteger(bytes)) throw new CairnError('USAGE', `"${text}" is too large a size.`)
  return bytes
}

/** Parses `2s`, `500ms`, `5m`, `1h`, `7d`; a bare number is refused, since its unit would be a guess. @throws `USAGE` */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]+)$/.exec(text.trim())
  const name = match?.[2] ?? ''
  // Only own keys: "5constructor" would otherwise find what every object inherits.
  const unit = Object.hasOwn(TIME_UNITS, name) ? TIME_UNITS[name] : undefined
  if (!match || unit === undefined) {
    throw new CairnError('USAGE', `"${text}" is not a time. Write it like 500ms, 2s, 5m, 1h or 7d.`)
  }
  const milliseconds = Math.round(Number(match[1]) * unit)
  if (!Number.isSafeInteger(milliseconds)) throw new CairnError('USAGE', `"${text}" is too long a time.`)
  return milliseconds
}

/** `1.50 GiB`, `64 MiB`, `12 B`: three significant digits at most, binary units. */
export function formatSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  let value = bytes
  let index = 0
  // The bounds are those of the rounded value: 1023.7 KiB is shown as 1.00 MiB, 9.999 KiB as 10.0 KiB.
  while (Math.abs(value) >= 1023.5 && index < units.length - 1) {
    value /= 1024
    index += 1
  }
  const digits = index === 0 || Number.isInteger(value) || Math.abs(value) >= 99.95 ? 0 : Math.abs(value) >= 9.995 ? 1 : 2
  return `${value.toFixed(digits)} ${units[index]}`
}

/** `450 ms`, `12.3 s`, `4m 05s`, `2h 10m`, `3d 4h`. */
export function formatDuration(milliseconds: number): string {
  const pad = (value: number): string => String(value).padStart(2, '0')
  if (Math.round(milliseconds) < SECOND_MS) return `${Math.round(milliseconds)} ms`
  if (milliseconds < MINUTE_MS - 50) return `${(milliseconds / SECOND_MS).toFixed(1)} s`
  const seconds = Math.round(milliseconds / SECOND_MS)
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${pad(seconds % 60)}s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)}h ${pad(minutes % 60)}m`
  return `${Math.floor(minutes / 1440)}d ${Math.floor((minutes % 1440) / 60)}h`
}
