/** The gateway's public face, for the command line and for tests. */
export { runGateway, type GatewayProcessOptions } from './main.js'
export { Gateway, type GatewayOptions } from './gateway.js'
