import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { freePorts, isFree } from '../../../../cli/up/ports.js'
import { loadState, saveState, type UpState } from '../../../../cli/up/state.js'

const STATE: UpState = {
  formatVersion: 1,
  masterPort: 9440,
  gatewayPort: 9441,
  chunkservers: [{ name: 'chunkserver-1', port: 9442 }],
}

describe('what up remembers', () => {
  let directory: string

  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'cairn-state-'))
  })

  afterEach(() => {
    rmSync(directory, { recursive: true })
  })

  test('comes back as it was saved, the last time counting', () => {
    expect(loadState(directory)).toBeUndefined()
    saveState(directory, { ...STATE, masterPort: 1 })
    saveState(directory, STATE)
    expect(loadState(directory)).toEqual(STATE)
  })

  test('is saved into a directory that is not there yet', () => {
    saveState(path.join(directory, 'a/b'), STATE)
    expect(loadState(path.join(directory, 'a/b'))).toEqual(STATE)
    expect(loadState(path.join(directory, 'c'))).toBeUndefined()
  })

  const damaged: [string, string][] = [
    ['empty', ''],
    ['cut', JSON.stringify(STATE).slice(0, 30)],
    ['binary', '\0\0\0\0'],
    ['another JSON', '[]'],
    ['null', 'null'],
    ['of a newer version', JSON.stringify({ ...STATE, formatVersion: 2 })],
    ['without a field', JSON.stringify({ ...STATE, gatewayPort: undefined })],
    ['with a port that is none', JSON.stringify({ ...STATE, masterPort: 99_999 })],
    ['with a port of zero', JSON.stringify({ ...STATE, chunkservers: [{ name: 'chunkserver-1', port: 0 }] })],
    ['with a port that is a text', JSON.stringify({ ...STATE, masterPort: '9440' })],
  ]
  test.each(damaged)('a file that is %s is said to be damaged, by its name and with what to do', (_what, content) => {
    writeFileSync(path.join(directory, 'up.json'), content)
    expect(() => loadState(directory)).toThrow(
      expect.objectContaining({ code: 'LOCAL_IO_ERROR', message: expect.stringMatching(/up\.json is damaged.*remove it/) }),
    )
  })
})

describe('ports', () => {
  test('free ports are different ones, and free', async () => {
    const ports = await freePorts(8)
    expect(new Set(ports).size).toBe(8)
    expect(await isFree(ports[0] as number)).toBe(true)
    expect(await freePorts(0)).toEqual([])
  })

  test('a port that someone listens on is not free, until they stop', async () => {
    const [port] = await freePorts(1)
    const server = net.createServer()
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
    expect(await isFree(port as number)).toBe(false)
    await new Promise((resolve) => server.close(resolve))
    expect(await isFree(port as number)).toBe(true)
  })
})
