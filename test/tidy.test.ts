/**
 * Rules that a test can hold: which way imports go, what may be named where, that generated documents are those of the
 * code. Source text is read as it stands in the checkout.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from '@jest/globals'
import ts from 'typescript'
import { VERSION } from '../common/version.js'
import { errorsDocument } from '../scripts/generate/errors-doc.js'
import { openApiText } from '../scripts/generate/openapi-doc.js'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const LINES_MAX = 400

/** Which other parts a part may import. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  common: [],
  master: ['common'],
  chunkserver: ['common'],
  client: ['common'],
  gateway: ['common', 'client'],
  cli: ['common', 'client', 'master', 'chunkserver', 'gateway'],
  testing: ['common', 'client', 'cli'],
  scripts: ['common', 'master', 'testing'],
  bench: ['common', 'client', 'master', 'cli', 'testing'],
}

/** Parts that no package holds: they may use what `testing` does not publish. */
const IN_THE_CHECKOUT = ['bench', 'scripts']

/** Inside a part, folders may import those further down this list, never those above. */
const LAYERS: Record<string, readonly string[]> = {
  master: ['api', 'repair', 'gc', 'jobs', 'uploads', 'cluster', 'placement', 'auth', 'store'],
  chunkserver: ['api', 'control', 'scrub', 'data', 'store'],
}

/** The folder of each part in which a package may be named. */
const PACKAGE_FOLDERS: Record<string, readonly string[]> = {
  express: ['master/api', 'gateway'],
  multer: ['gateway'],
  undici: ['common/rpc/http'],
  'better-sqlite3': ['master/store/engine', 'common/disk', 'cli/commands'],
  pg: ['master/store/postgres'],
  kysely: ['master/store'],
  'xxhash-wasm': ['common/checksum'],
  pino: ['common/observe'],
  'prom-client': ['common/observe'],
  commander: ['cli'],
  'cli-progress': ['cli'],
  'cli-table3': ['cli'],
}

interface Source {
  readonly file: string
  readonly text: string
  readonly imports: readonly string[]
}

const tracked = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: ROOT, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '' && existsSync(path.join(ROOT, file)))

function read(file: string): Source {
  const text = readFileSync(path.join(ROOT, file), 'utf8')
  return { file, text, imports: ts.preProcessFile(text).importedFiles.map((one) => one.fileName) }
}

const sources = tracked.filter((file) => file.endsWith('.ts')).map(read)
const product = sources.filter(({ file }) => !file.startsWith('test/'))

/** The file in the checkout that a relative import means, without its extension. */
const resolved = (source: Source, specifier: string): string =>
  path.posix.join(path.posix.dirname(source.file), specifier).replace(/\.js$/, '')

const partOf = (file: string): string => file.split('/')[0] as string
const relative = (source: Source): string[] =>
  source.imports.filter((one) => one.startsWith('.')).map((one) => resolved(source, one))

/** Collects every breach, so that one run shows them all. */
function breaches(files: readonly Source[], find: (source: Source) => readonly string[]): string[] {
  return files.flatMap((source) => find(source).map((what) => `${source.file}: ${what}`))
}

describe('imports', () => {
  test('go from the outer parts to the inner ones only', () => {
    const found = breaches(product, (source) => {
      const part = partOf(source.file)
      const allowed = MAY_IMPORT[part] ?? []
      return relative(source).filter((target) => partOf(target) !== part && !allowed.includes(partOf(target)))
    })
    expect(found).toEqual([])
  })

  test('reach another part through its index', () => {
    const found = breaches(product, (source) =>
      relative(source).filter((target) => {
        const part = partOf(target)
        const open = ['common', 'cli', ...(IN_THE_CHECKOUT.includes(partOf(source.file)) ? ['testing'] : [])]
        return part !== partOf(source.file) && !open.includes(part) && target !== `${part}/index`
      }),
    )
    expect(found).toEqual([])
  })

  test.each(Object.keys(LAYERS))('inside %s go down the layers', (part) => {
    const layers = LAYERS[part] as readonly string[]
    const files = product.filter(({ file }) => file.startsWith(`${part}/`))
    const found = breaches(files, (source) => {
      const own = layers.indexOf(source.file.split('/')[1] as string)
      return relative(source).filter((target) => {
        const other = target.startsWith(`${part}/`) ? layers.indexOf(target.split('/')[1] as string) : -1
        return own !== -1 && other !== -1 && other < own
      })
    })
    expect(found).toEqual([])
  })

  test('name each package only in the folders that stand between it and the rest', () => {
    const found = breaches(product, (source) =>
      source.imports.filter((one) => {
        const folders = PACKAGE_FOLDERS[one]
        return folders !== undefined && !folders.some((folder) => source.file.startsWith(`${folder}/`))
      }),
    )
    expect(found).toEqual([])
  })

  test('need only packages that package.json lists', () => {
    const { dependencies, devDependencies } = packageJson()
    const found = breaches(sources, (source) => {
      const known = source.file.startsWith('test/') ? { ...dependencies, ...devDependencies } : dependencies
      return source.imports.filter((one) => !one.startsWith('.') && !one.startsWith('node:') && !(packageName(one) in known))
    })
    expect(found).toEqual([])
  })
})

describe('sources', () => {
  test(`have at most ${LINES_MAX} lines`, () => {
    const found = breaches(sources, ({ text }) =>
      text.split('\n').length > LINES_MAX ? [`${text.split('\n').length} lines`] : [],
    )
    expect(found).toEqual([])
  })

  test('open with what they are for', () => {
    const found = breaches(product, ({ text }) => (/^\/\*\*|^\/\//.test(text) ? [] : ['no opening comment']))
    expect(found).toEqual([])
  })

  test('leave nothing for later and export by name', () => {
    const words = new RegExp(['TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX', 'export ' + 'default'].join('|'))
    expect(breaches(sources, ({ text }) => words.exec(text) ?? [])).toEqual([])
  })

  test('are named in kebab-case', () => {
    const found = sources.filter(({ file }) => !/^[a-z0-9-]+(\.(test|suite|d))?\.ts$/.test(path.basename(file)))
    expect(found.map(({ file }) => file)).toEqual([])
  })
})

describe('documents', () => {
  const document = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8')

  test('docs/errors.md is the error table', () => {
    expect(document('docs/errors.md')).toBe(errorsDocument())
  })

  test('docs/api/openapi.json is what a master serves', () => {
    expect(document('docs/api/openapi.json')).toBe(openApiText())
  })

  test('links between documents lead somewhere', () => {
    const files = tracked.filter((file) => file.endsWith('.md'))
    const found = files.flatMap((file) =>
      [...document(file).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)]
        .map((match) => match[1] as string)
        .filter((link) => !/^[a-z]+:/.test(link) && !existsSync(path.join(ROOT, path.dirname(file), link)))
        .map((link) => `${file}: ${link}`),
    )
    expect(found).toEqual([])
  })

  test('each decision is numbered once', () => {
    const numbers = tracked.filter((file) => file.startsWith('docs/decisions/')).map((file) => path.basename(file).slice(0, 4))
    expect(numbers.filter((number, index) => numbers.indexOf(number) !== index || !/^\d{4}$/.test(number))).toEqual([])
  })
})

describe('package.json', () => {
  test('has the version that the program prints', () => {
    expect(packageJson().version).toBe(VERSION)
  })

  test('pins every dependency exactly, and the lock file carries no download addresses', () => {
    const { dependencies, devDependencies } = packageJson()
    const loose = Object.entries({ ...dependencies, ...devDependencies }).filter(
      ([, version]) => !/^\d+\.\d+\.\d+$/.test(version),
    )
    expect(loose).toEqual([])
    expect(readFileSync(path.join(ROOT, 'package-lock.json'), 'utf8')).not.toMatch(/"resolved": "http/)
  })
})

interface PackageJson {
  readonly version: string
  readonly dependencies: Record<string, string>
  readonly devDependencies: Record<string, string>
}

function packageJson(): PackageJson {
  return JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as PackageJson
}

const packageName = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
