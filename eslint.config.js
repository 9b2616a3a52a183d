import { fileURLToPath } from 'node:url'
import tseslint from 'typescript-eslint'

/** Everything below the seams of docs/design/seams.md: only these folders touch the machine. */
const ADAPTERS = {
  clock: ['common/clock/system-clock.ts', 'common/rpc/http/**'],
  random: ['common/random/system-random.ts'],
  files: [
    'common/disk/**',
    'common/checksum/xxhash-module.ts',
    'cli/**',
    'client/platform/**',
    'client/upload/file-source.ts',
    'client/download/file-target.ts',
    'master/store/**',
  ],
  network: ['common/rpc/http/**', 'gateway/**', 'master/api/**', 'master/main.ts'],
}

const FILES = ['fs', 'node:fs', 'fs/promises', 'node:fs/promises', 'child_process', 'node:child_process']
const NETWORK = [
  'net',
  'node:net',
  'http',
  'node:http',
  'https',
  'node:https',
  'tls',
  'node:tls',
  'dgram',
  'node:dgram',
  'dns',
  'node:dns',
  'undici',
]
const SOURCES = ['common/**/*.ts', 'master/**/*.ts', 'chunkserver/**/*.ts', 'client/**/*.ts', 'gateway/**/*.ts', 'cli/**/*.ts']

const banImports = (names, message) => ({
  'no-restricted-imports': ['error', { paths: names.map((name) => ({ name, message })) }],
})
const onlyThrough = (seam) =>
  `Reached only through the ${seam} seam, so that a whole cluster can run in one process from one seed.`

const TIME = [
  { selector: "MemberExpression[object.name='Date'][property.name='now']", message: onlyThrough('Clock') },
  { selector: "NewExpression[callee.name='Date'][arguments.length=0]", message: onlyThrough('Clock') },
  { selector: "MemberExpression[object.name='performance']", message: onlyThrough('Clock') },
  { selector: "MemberExpression[object.name='process'][property.name='hrtime']", message: onlyThrough('Clock') },
  { selector: "MemberExpression[object.name='AbortSignal'][property.name='timeout']", message: onlyThrough('Clock') },
  { selector: 'CallExpression[callee.name=/^(setTimeout|setInterval|setImmediate)$/]', message: onlyThrough('Clock') },
]
const RANDOMNESS = [
  { selector: "MemberExpression[object.name='Math'][property.name='random']", message: onlyThrough('Random') },
  {
    selector: 'ImportDeclaration[source.value=/^(node:)?crypto$/] ImportSpecifier[imported.name=/^random/]',
    message: onlyThrough('Random'),
  },
]
const STYLE = [{ selector: 'ExportDefaultDeclaration', message: 'Named exports only: a thing has one name everywhere.' }]

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', 'coverage/', '**/*.cjs', '**/*.mjs', '*.config.js', 'bin/'] },
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: fileURLToPath(new URL('.', import.meta.url)) } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true, allowNullish: true },
      ],
      '@typescript-eslint/require-await': 'off',
      'no-restricted-syntax': ['error', ...STYLE],
      eqeqeq: 'error',
    },
  },
  { files: SOURCES, rules: { 'no-restricted-syntax': ['error', ...STYLE, ...TIME, ...RANDOMNESS] } },
  { files: ADAPTERS.clock, rules: { 'no-restricted-syntax': ['error', ...STYLE, ...RANDOMNESS] } },
  { files: ADAPTERS.random, rules: { 'no-restricted-syntax': ['error', ...STYLE, ...TIME] } },
  { files: SOURCES, rules: banImports([...FILES, ...NETWORK], onlyThrough('Disk or Transport')) },
  { files: ADAPTERS.files, rules: banImports(NETWORK, onlyThrough('Transport')) },
  { files: ADAPTERS.network, rules: banImports(FILES, onlyThrough('Disk')) },
  { files: ['cli/up/*.ts', 'common/rpc/http/local-socket.ts'], rules: { 'no-restricted-imports': 'off' } },
  {
    files: ['test/**/*.ts'],
    rules: {
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
    },
  },
)
