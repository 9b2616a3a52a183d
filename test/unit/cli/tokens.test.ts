import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { ensureTokens } from '../../../cli/tokens.js'

const HANDED_ON = 'CAIRN_BOOTSTRAP_TOKENS'

describe('the first tokens of a cluster', () => {
  let directory: string

  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'cairn-tokens-'))
  })

  afterEach(() => {
    delete process.env[HANDED_ON]
    rmSync(directory, { recursive: true })
  })

  test('are made once, readable by their owner only', () => {
    const tokens = ensureTokens(path.join(directory, 'new'))
    expect(tokens.root).toMatch(/^[0-9a-f]{64}$/)
    expect(tokens.server).toMatch(/^[0-9a-f]{64}$/)
    expect(tokens.root).not.toBe(tokens.server)
    expect(statSync(path.join(directory, 'new/tokens.json')).mode & 0o777).toBe(0o600)
    expect(ensureTokens(path.join(directory, 'new'))).toEqual(tokens)
    expect(ensureTokens(directory)).not.toEqual(tokens)
  })

  test('those that a supervisor hands on are used, and not kept', () => {
    process.env[HANDED_ON] = JSON.stringify({ root: 'r', server: 's' })
    expect(ensureTokens(directory)).toEqual({ root: 'r', server: 's' })
    expect(existsSync(path.join(directory, 'tokens.json'))).toBe(false)
  })

  test.each([
    ['empty', ''],
    ['cut', '{"root":"ab'],
    ['another JSON', '[]'],
    ['without a token', '{"root":"ab"}'],
    ['with an empty token', '{"root":"ab","server":""}'],
  ])('a file that is %s is said to be damaged, and left as it is', (_what, content) => {
    const file = path.join(directory, 'tokens.json')
    writeFileSync(file, content)
    expect(() => ensureTokens(directory)).toThrow(
      expect.objectContaining({ code: 'LOCAL_IO_ERROR', message: expect.stringContaining(`${file} is damaged`) }),
    )
    expect(readFileSync(file, 'utf8')).toBe(content)
  })
})
