/** All mutants. Each is applied in a unit test, so that the list cannot rot, and caught in `npm run mutants`. */
import type { Mutant } from './mutant.js'
import { CHUNKSERVER_MUTANTS } from './known/chunkserver.js'
import { CLIENT_MUTANTS } from './known/client.js'
import { MASTER_MUTANTS } from './known/master.js'
import { METADATA_MUTANTS } from './known/metadata.js'

export const MUTANTS: readonly Mutant[] = [...CHUNKSERVER_MUTANTS, ...MASTER_MUTANTS, ...METADATA_MUTANTS, ...CLIENT_MUTANTS]
