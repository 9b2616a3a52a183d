/** Writes the documents that are made from the code: error table, OpenAPI, metrics. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { errorsDocument } from './errors-doc.js'
import { metricsDocument, metricsIn, type MetricInfo } from './metrics-doc.js'
import { openApiText } from './openapi-doc.js'

const CHECKOUT = fileURLToPath(new URL('../../../', import.meta.url))
const ROLES = ['master', 'chunkserver', 'gateway']

function write(file: string, text: string): void {
  const target = path.join(CHECKOUT, 'docs', file)
  mkdirSync(path.dirname(target), { recursive: true })
  writeFileSync(target, text)
  console.log(`wrote docs/${file}`)
}

/** What a cluster of its own exposes. */
async function scrape(): Promise<Record<string, MetricInfo[]>> {
  const directory = mkdtempSync(path.join(tmpdir(), 'cairn-generate-'))
  const args = [path.join(CHECKOUT, 'bin/cairn'), 'up', '--dir', directory, '--chunkservers', '1', '--port', '0', '--json']
  const up = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const [line] = (await once(createInterface({ input: up.stdout }), 'line')) as [string]
    const { processes } = JSON.parse(line) as { processes: { role: string; url: string }[] }
    const byRole: Record<string, MetricInfo[]> = {}
    for (const role of ROLES) {
      const url = processes.find((one) => one.role === role)?.url
      byRole[role] = metricsIn(await (await fetch(`${url}/metrics`)).text())
    }
    return byRole
  } finally {
    up.kill('SIGTERM')
    await once(up, 'exit')
    rmSync(directory, { recursive: true, force: true })
  }
}

write('errors.md', errorsDocument())
write('api/openapi.json', openApiText())
write('operations/metrics.md', metricsDocument(await scrape()))
