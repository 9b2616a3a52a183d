/** Progress bars on a terminal; nothing when stderr is piped. */
import { SingleBar } from 'cli-progress'
import type { Progress } from '../client/index.js'
import { formatDuration, formatSize, SECOND_MS } from '../common/units.js'
import type { Clock } from '../common/clock/clock.js'
import { RateMeter } from '../common/flow/rate-meter.js'
import { say } from './context.js'

export interface ProgressDisplay {
  readonly onProgress: (progress: Progress) => void
  readonly onNotice: (notice: string) => void
  stop(): void
}

/** The rate shown is that of the last seconds: what the transfer does now, not what it did on average. */
const RATE_WINDOW_MS = 5 * SECOND_MS
const REPEAT_MS = 5 * SECOND_MS

export function progressDisplay(clock: Clock, label: string, quiet: boolean): ProgressDisplay {
  const isNews = newsFilter(clock)
  if (quiet || !process.stderr.isTTY) {
    return {
      onProgress: () => undefined,
      onNotice: (notice) => quiet || (isNews(notice) && say(`cairn: ${notice}`)),
      stop: () => undefined,
    }
  }
  const meter = new RateMeter(clock, RATE_WINDOW_MS)
  const bar = new SingleBar({
    // Names of our own: total, percentage and eta would be filled in by the library, in bytes and seconds.
    format: `${label}  {bar}  {share}  {done} / {size}  {rate}/s  {left}`,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 30,
    hideCursor: true,
    stream: process.stderr,
    fps: 5,
  })
  const payload = (progress: Progress): object => {
    const rate = meter.perSecond()
    const left = progress.totalBytes === null ? null : progress.totalBytes - progress.doneBytes
    return {
      done: formatSize(progress.doneBytes),
      size: progress.totalBytes === null ? '?' : formatSize(progress.totalBytes),
      share: progress.totalBytes ? `${Math.floor((progress.doneBytes / progress.totalBytes) * 100)}%` : '',
      rate: formatSize(rate),
      left: left === null || rate === 0 ? '' : left === 0 ? 'finishing' : `${formatDuration((left / rate) * SECOND_MS)} left`,
    }
  }
  let started = false
  let movedBefore = 0
  return {
    onProgress: (progress) => {
      const moved = progress.doneBytes - progress.skippedBytes
      meter.add(moved - movedBefore)
      movedBefore = moved
      if (!started) bar.start(progress.totalBytes ?? progress.doneBytes, 0, payload(progress))
      started = true
      bar.update(progress.doneBytes, payload(progress))
    },
    onNotice: (notice) => {
      if (!isNews(notice)) return
      process.stderr.write(`\r\x1b[K`)
      say(`cairn: ${notice}`)
    },
    stop: () => started && bar.stop(),
  }
}

/** Many chunks meet the same trouble at once: it is said once in a while, not once for each. */
function newsFilter(clock: Clock): (notice: string) => boolean {
  const said = new Map<string, number>()
  return (notice) => {
    const kind = notice.replace(/\d+/g, '#')
    const nowMs = clock.monotonic()
    if (nowMs - (said.get(kind) ?? -Infinity) < REPEAT_MS) return false
    said.set(kind, nowMs)
    return true
  }
}
