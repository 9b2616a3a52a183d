/**
 * One hung disk of four. Goal: the server's other disks serve on, its process is not stuck, the disk is given up within
 * its deadline and what lay on it is rebuilt. Method: every chunk file of the disk gives way to a named pipe, whose
 * opening holds a thread of the process in the kernel until somebody writes to it: what a dead NFS mount or controller does.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from '@jest/globals'
import { KiB, MiB } from '../../common/units.js'
import { startCluster, type TestMember } from '../../testing/index.js'
import { ClientLoad } from '../support/client-load.js'
import { untilState, writeFile } from '../support/scenario.js'

const CHUNK = { chunkSizeBytes: 128 * KiB }
/** The deadline of a disk operation is half of it. */
const PATIENCE = { withinMs: 60_000 }

/** Opening one of them hangs from now on. @returns the pipes */
function hangFiles(directory: string): string[] {
  const chunks = path.join(directory, 'chunks')
  const files = readdirSync(chunks, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.chunk'))
    .map((name) => path.join(chunks, name))
  for (const file of files) {
    rmSync(file)
    execFileSync('mkfifo', [file])
  }
  return files
}

/** Whoever waits for the other end gets it. Otherwise the process could not even end. */
function letGo(pipes: readonly string[]): void {
  for (const pipe of pipes) closeSync(openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK))
}

const metricsOf = async (member: TestMember): Promise<string> => (await fetch(`${member.url}/metrics`)).text()

test('one hung disk of four: the others serve on, it is given up within its deadline, and its chunks are rebuilt', async () => {
  await using cluster = await startCluster({ chunkservers: 4, disks: 4 })
  await using load = ClientLoad.start(cluster.client)
  const file = await writeFile(cluster, '/a/x', 8 * MiB, CHUNK)
  const [victim] = cluster.chunkservers as [TestMember]
  const directory = victim.directories[1] as string
  const pipes = hangFiles(directory)
  expect(pipes.length).toBeGreaterThan(3)
  try {
    // Many readers at once: more than the process has threads.
    await Promise.all(Array.from({ length: 8 }, () => file.verify()))
    await load.progress(30)
    // It answers, and takes new chunks, on its other disks.
    expect((await fetch(`${victim.url}/readyz`)).status).toBe(200)
    let count = 0
    await cluster.until('it takes new chunks', async () => {
      const written = await writeFile(cluster, `/new/${(count += 1)}`, 512 * KiB, CHUNK)
      const own = (await cluster.copies(written.path)).filter(({ server }) => server === victim)
      return own.some((copy) => !copy.file.startsWith(directory))
    })
    await cluster.until(
      'the disk is given up',
      async () => (await metricsOf(victim)).includes(`cairn_disk_failed{disk="${directory}"} 1`),
      PATIENCE,
    )
    await untilState(cluster, victim, 'serving')
    // By then the master has taken note.
    await load.progress(60)
    const healed = async (): Promise<boolean> => {
      const { chunks } = await cluster.status()
      return chunks.healthy === chunks.total
    }
    await cluster.until('its chunks are rebuilt', healed, PATIENCE)
    await file.verify()
    expect(await load.finish()).toEqual([])
    expect(load.failures).toEqual([])
  } finally {
    letGo(pipes)
  }
}, 300_000)
