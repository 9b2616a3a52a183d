/** `cairn-storage/testing` as other projects have it: from the packed package, by the guide's own example. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { runProgram, until } from '../support/cluster.js'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

let project: string

/** A project that depends on the packed package; what the package depends on is that of this checkout. */
beforeAll(async () => {
  project = mkdtempSync(path.join(tmpdir(), 'cairn-project-'))
  const packed = await runProgram('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', project], { cwd: ROOT })
    .done
  expect(packed).toMatchObject({ code: 0 })
  const [{ filename }] = packed.json as [{ filename: string }]
  const modules = path.join(project, 'node_modules')
  mkdirSync(path.join(modules, 'cairn-storage'), { recursive: true })
  const archive = path.join(project, filename)
  const target = path.join(modules, 'cairn-storage')
  expect(await runProgram('tar', ['-xzf', archive, '-C', target, '--strip-components=1']).done).toMatchObject({ code: 0 })
  for (const name of readdirSync(path.join(ROOT, 'node_modules')))
    symlinkSync(path.join(ROOT, 'node_modules', name), path.join(modules, name))
  writeFileSync(path.join(project, 'package.json'), JSON.stringify({ name: 'project', type: 'module', private: true }))
})
afterAll(() => rmSync(project, { recursive: true, force: true }))

describe('the packed package', () => {
  test('runs the example of its guide under node:test', async () => {
    const guide = readFileSync(path.join(ROOT, 'docs', 'testing-against-cairn.md'), 'utf8')
    const example = /```js\n([\s\S]*?)```/.exec(guide)?.[1] ?? ''
    writeFileSync(path.join(project, 'example.test.js'), example)
    const run = await runProgram(process.execPath, ['--test', 'example.test.js'], { cwd: project }).done
    expect(run.stdout).toContain('a file outlives a server')
    expect(run).toMatchObject({ code: 0 })
  })

  test('leaves no process behind when the process of the test is killed, stopped ones included', async () => {
    const script = `
      import { startCluster } from 'cairn-storage/testing'
      const cluster = await startCluster({ chunkservers: 2, gateway: true, directory: 'data' })
      await cluster.pause(cluster.chunkservers[1])
      const members = [cluster.master, cluster.gateway, ...cluster.chunkservers]
      console.log(JSON.stringify(members.map(({ pid }) => pid)))
      process.kill(process.pid, 'SIGKILL')`
    const { signal, json } = await runProgram(process.execPath, ['--input-type=module', '-e', script], { cwd: project }).done
    expect(signal).toBe('SIGKILL')
    expect(json).toHaveLength(4)
    await until('all are gone', async () => !(json as number[]).some(exists))
  })

  test('does not keep a process from ending that forgot to stop its cluster', async () => {
    const script = `
      import { startCluster } from 'cairn-storage/testing'
      const cluster = await startCluster({ chunkservers: 1, directory: 'forgotten' })
      console.log(cluster.master.pid)`
    const { code, json } = await runProgram(process.execPath, ['--input-type=module', '-e', script], { cwd: project }).done
    expect(code).toBe(0)
    await until('the master is gone', async () => !exists(json as number))
  })
})

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
