/** What the demonstration says on the terminal. */
import path from 'node:path'
import { formatSize, MiB } from '../../common/units.js'
import type { DemoCluster } from './cluster.js'
import type { RepairResult, TransferResult } from './scenes.js'

const say = (text: string): void => void process.stdout.write(`${text}\n`)

let steps = 0
let shownTenth = 0

export function step(text: string): void {
  steps += 1
  shownTenth = 0
  say(`\n[${steps}] ${text}`)
}

/** Lines that the progress bar of a running command may stand on are cleared first. */
export function note(text: string): void {
  say(process.stderr.isTTY ? `\r\x1b[K    ${text}` : `    ${text}`)
}

/** On a terminal the commands draw their own bars; in a log each tenth is a line. */
export function progress(share: number): void {
  const tenth = Math.floor(share * 10)
  if (process.stderr.isTTY || tenth <= shownTenth) return
  shownTenth = tenth
  note(`${tenth * 10} %`)
}

export function report(facts: {
  readonly sizeBytes: number
  readonly upload: TransferResult
  readonly download: TransferResult
  readonly sha256: string
  readonly repair: RepairResult
}): void {
  const { sizeBytes, upload, download, repair } = facts
  const rate = (seconds: number): string => `${Math.round(sizeBytes / MiB / seconds)} MiB/s`
  const killed = (result: TransferResult): string => `${result.killed} was killed at ${Math.round(result.killedAtShare * 100)} %`
  say(`
What happened
  upload    ${formatSize(sizeBytes)} in ${upload.seconds.toFixed(1)} s, ${rate(upload.seconds)}, each chunk on three disks; ${killed(upload)}
  download  ${formatSize(sizeBytes)} in ${download.seconds.toFixed(1)} s, ${rate(download.seconds)}, every leaf verified; ${killed(download)}
  SHA-256   of source and result are equal: ${facts.sha256}
  repair    all ${repair.chunks} chunks have three live copies again ${repair.seconds.toFixed(1)} s after the download; at most ${repair.lackedCopies} lacked some`)
}

export function closing(cluster: DemoCluster, directory: string): void {
  const { master, gateway, token, processes } = cluster.ready
  const up = processes.filter((one) => one.role === 'chunkserver').length - cluster.killed.length
  const relative = path.relative(process.cwd(), cluster.directory) || '.'
  const files = path.relative(process.cwd(), directory) || '.'
  say(`
The cluster stays up, with ${up} chunkservers, until Ctrl-C
  master   ${master}
  gateway  ${gateway}
  token    ${token}

Next, in another terminal, in this directory
  export CAIRN_MASTER=${master} CAIRN_TOKEN=${token}
  ./bin/cairn status
  ./bin/cairn ls -l /demo
  ./bin/cairn put README.md /demo/README.md && ./bin/cairn cat /demo/README.md
  curl -H "authorization: Bearer $CAIRN_TOKEN" -r 0-99 ${gateway}/v1/files/demo/README.md/content

Later
  ./bin/cairn up --dir ${relative}      starts it again, with all ${processes.length - 2} chunkservers
  rm -r ${files}                  removes everything the demonstration made
`)
}
