import { expect, test } from '@jest/globals'
import { DiskBandwidth } from '../../../../chunkserver/store/disk-bandwidth.js'
import { DiskLatency } from '../../../../chunkserver/store/disk-latency.js'
import { VirtualClock } from '../../../../common/clock/virtual-clock.js'
import { MiB } from '../../../../common/units.js'

async function move(
  clock: VirtualClock,
  latency: DiskLatency,
  bandwidth: DiskBandwidth,
  bytes: number,
  tookMs: number,
): Promise<void> {
  const ends = [latency.begin(true), latency.begin(true)]
  await clock.advance(tookMs)
  for (const end of ends) end()
  bandwidth.moved(bytes)
}

test('what a disk can do is told by what it moves while it is at work, and overlapping operations count once', async () => {
  const clock = new VirtualClock()
  const latency = new DiskLatency(clock)
  const bandwidth = new DiskBandwidth(latency)
  expect(bandwidth.bytesPerSecond).toBe(300 * MiB)
  await move(clock, latency, bandwidth, 64 * MiB, 100)
  expect(bandwidth.bytesPerSecond).toBe(640 * MiB)
  await clock.advance(60_000)
  await move(clock, latency, bandwidth, 64 * MiB, 100)
  expect(bandwidth.bytesPerSecond).toBe(640 * MiB)
})

test('it rises at once and falls slowly', async () => {
  const clock = new VirtualClock()
  const latency = new DiskLatency(clock)
  const bandwidth = new DiskBandwidth(latency)
  await move(clock, latency, bandwidth, 64 * MiB, 1000)
  await move(clock, latency, bandwidth, 64 * MiB, 100)
  expect(bandwidth.bytesPerSecond).toBe(640 * MiB)
  await move(clock, latency, bandwidth, 64 * MiB, 1000)
  expect(Math.round(bandwidth.bytesPerSecond / MiB)).toBe(Math.round(640 * 0.9 + 64 * 0.1))
})
