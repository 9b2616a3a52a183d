/** Tests are compiled with everything else and run from dist/: what is tested is what is shipped. */
export default {
  rootDir: 'dist',
  testEnvironment: '../test/jest-environment.cjs',
  testMatch: ['<rootDir>/test/**/*.test.js'],
  transform: {},
  testTimeout: 60_000,
  injectGlobals: false,
}
