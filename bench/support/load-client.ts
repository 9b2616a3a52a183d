/** The child's side of {@link LoadClient}: a process that does tasks, so that its cost can be told from the benchmark's own. */
import { performTask, type LoadTask, type Operation } from './load-task.js'

/** Does what it is told until it is told to end. @param close called at the end */
export function serveTasks(
  operationOf: (task: LoadTask) => Operation,
  close: () => Promise<void> | void = () => undefined,
): void {
  process.on('message', (message: LoadTask | 'end') => {
    if (message === 'end') {
      process.disconnect()
      return void close()
    }
    performTask(message, operationOf(message)).then(
      (result) => process.send?.(result),
      (error: unknown) => {
        process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`)
        process.exit(1)
      },
    )
  })
}
