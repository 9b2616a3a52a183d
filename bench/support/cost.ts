/** What work costs: time, and CPU time of the processes that do it and of commands that come and go meanwhile. */
import os from 'node:os'
import { cpuSeconds, endedChildrenCpuSeconds, machineBusySeconds } from './process-watch.js'

export interface Cost {
  readonly wallSeconds: number
  readonly cpuSeconds: number
  /** Part of the machine's CPU time that neither these processes nor this benchmark used: other programs, and the kernel on its own. */
  readonly otherCpuShare: number
}

/**
 * @param pids asked before and after: of the processes that are there. One that ends between is a child of this process
 * and counts as such, or is lost.
 */
export async function costOf<T>(pids: () => readonly number[], work: () => Promise<T>): Promise<{ result: T; cost: Cost }> {
  const before = counters(pids())
  const startedMs = performance.now()
  const result = await work()
  const wallSeconds = (performance.now() - startedMs) / 1000
  const after = counters(pids())
  const spent = after.processes - before.processes
  const others = after.machine - before.machine - spent - (after.self - before.self)
  const otherCpuShare = Math.max(0, others / (wallSeconds * os.cpus().length))
  return { result, cost: { wallSeconds, cpuSeconds: spent, otherCpuShare } }
}

function counters(pids: readonly number[]) {
  const alive = pids.reduce((sum, pid) => sum + cpuOf(pid), 0)
  return {
    processes: alive + endedChildrenCpuSeconds(),
    machine: machineBusySeconds(),
    self: cpuSeconds(process.pid),
  }
}

/** Nothing for a process that has ended meanwhile. */
function cpuOf(pid: number): number {
  try {
    return cpuSeconds(pid)
  } catch {
    return 0
  }
}
