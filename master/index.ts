/** The master's public face, for the command line and for tests. */
export { runMaster, type MasterProcessOptions } from './main.js'
export { Master, type BootstrapToken, type MasterOptions } from './master.js'
export { masterRoutes } from './api/routes.js'
export { openApiDocument } from './api/openapi.js'
export { DEFAULT_MASTER_SETTINGS, type MasterSettings } from './settings.js'
export { openMemoryStore, openSqliteStore, sqliteConnection } from './store/sqlite-store.js'
