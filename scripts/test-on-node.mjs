// Runs the unit and contract tests on another release line of Node, which npm brings: `npm run test:on-node -- 24 [tests]`.
// Everything happens in a copy, because the native addon has to be built again for that Node's ABI.
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const CHECKOUT = fileURLToPath(new URL('..', import.meta.url))
const COPIED = ['package.json', 'jest.config.js', 'bin', 'dist', 'scripts', 'node_modules', 'test/jest-environment.cjs']
// Of the simulation what shows that it runs there too: the swarm's seeds do the same on every Node.
const DEFAULT_TESTS = ['dist/test/unit', 'dist/test/contract', 'dist/test/sim/cluster']

const [version, ...chosen] = process.argv.slice(2)
if (!/^\d+(\.\d+)*$/.test(version ?? '')) {
  console.error('usage: npm run test:on-node -- VERSION [TESTS...]   for example: npm run test:on-node -- 24')
  process.exit(2)
}

const run = (command, args, options = {}) => {
  const { status } = spawnSync(command, args, { stdio: 'inherit', ...options })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`)
}

const work = mkdtempSync(path.join(tmpdir(), `cairn-node-${version}-`))
let code = 0
try {
  run('npm', ['pack', '--silent', '--pack-destination', work, `node-${process.platform}-${process.arch}@${version}`], {
    cwd: work,
  })
  const archive = readdirSync(work).find((name) => name.endsWith('.tgz'))
  run('tar', ['xzf', archive], { cwd: work })
  const node = path.join(work, 'package/bin/node')
  run(node, ['--version'])

  const copy = path.join(work, 'checkout')
  for (const name of COPIED) {
    if (!existsSync(path.join(CHECKOUT, name))) throw new Error(`${name} is missing: run npm run build first`)
    cpSync(path.join(CHECKOUT, name), path.join(copy, name), { recursive: true, verbatimSymlinks: true })
  }
  run(node, ['scripts/setup-native.mjs'], { cwd: copy })
  const jest = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', 'node_modules/jest/bin/jest.js']
  run(node, [...jest, ...(chosen.length > 0 ? chosen : DEFAULT_TESTS)], { cwd: copy })
} catch (error) {
  console.error(`test-on-node: ${error.message}`)
  code = 1
} finally {
  rmSync(work, { recursive: true, force: true })
}
process.exit(code)
