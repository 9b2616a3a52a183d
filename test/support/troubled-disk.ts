/** A disk in trouble: whatever is asked of it, and of the files opened on it, goes by `trouble` first. */
import type { Disk, DiskFile } from '../../common/disk/disk.js'

/** Throws, to make an operation fail; never resolves, to make it hang. @param operation the method's name */
export type Trouble = (operation: string, path: string) => void | Promise<void>

export function troubledDisk(disk: Disk, trouble: Trouble): Disk {
  return guarded(disk, async (name, args, run) => {
    const path = typeof args[0] === 'string' ? args[0] : ''
    await trouble(name, path)
    const result = await run()
    return name === 'openFile' ? troubledFile(result as DiskFile, path, trouble) : result
  })
}

function troubledFile(file: DiskFile, path: string, trouble: Trouble): DiskFile {
  return guarded(file, async (name, _args, run) => {
    await trouble(name, path)
    return run()
  })
}

function guarded<T extends object>(
  target: T,
  call: (name: string, args: readonly unknown[], run: () => Promise<unknown>) => Promise<unknown>,
): T {
  return new Proxy(target, {
    get(_target, name) {
      const member = Reflect.get(target, name) as unknown
      if (typeof member !== 'function') return member
      return (...args: unknown[]) => call(String(name), args, async () => (await Reflect.apply(member, target, args)) as unknown)
    },
  })
}
