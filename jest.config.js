/** Tests are compiled with everything else and run from dist/: what is tested is what is shipped. */
export default {
  rootDir: 'dist',
  testEnvironment: '../test/jest-environment.cjs',
  testMatch: ['<rootDir>/test/**/*.test.js'],
  transform: {},
  testTimeout: 120_000,
  // Many tests wait for deaths to be noticed: two at a time fill two cores.
  maxWorkers: 2,
  injectGlobals: false,
}
