/** The chunkserver's public face, for the command line and for tests. */
export { runChunkserver, type ChunkserverProcessOptions } from './main.js'
export { Chunkserver, type ChunkserverOptions } from './chunkserver.js'
