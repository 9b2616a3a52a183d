/** `node file-client.js DIRECTORY`: small files through a mounted file system, with as many threads as connections. */
import { mkdir, open, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { serveTasks } from '../support/load-client.js'
import type { LoadTask, Operation } from '../support/load-task.js'

const directory = process.argv[2] ?? '.'

const OPERATIONS: Record<LoadTask['kind'], Operation> = {
  put: async (file, content) => {
    const handle = await open(path.join(directory, file), 'wx')
    if (content.length > 0) {
      await handle.write(content)
      await handle.sync()
    }
    await handle.close()
  },
  stat: async (file) => (await stat(path.join(directory, file))).size,
  get: (file) => readFile(path.join(directory, file)),
}

serveTasks(({ kind, prefix }) => {
  const made = kind === 'put' ? mkdir(path.join(directory, prefix), { recursive: true }) : Promise.resolve()
  return async (...operation) => {
    await made
    return OPERATIONS[kind](...operation)
  }
})
