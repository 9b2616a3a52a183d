/** All that every {@link MetadataStore} must do. */
import { metadataChunksSuite } from './metadata-chunks.suite.js'
import { metadataJoiningSuite } from './metadata-joining.suite.js'
import { metadataLeasesSuite } from './metadata-leases.suite.js'
import { metadataServersSuite } from './metadata-servers.suite.js'
import { metadataShortUploadsSuite } from './metadata-short-uploads.suite.js'
import type { StoreUnderTest } from './metadata-store-fixture.js'
import { metadataFilesSuite } from './metadata-store.suite.js'

export function metadataStoreSuite(name: string, open: () => Promise<StoreUnderTest>): void {
  metadataFilesSuite(name, open)
  metadataChunksSuite(name, open)
  metadataServersSuite(name, open)
  metadataJoiningSuite(name, open)
  metadataShortUploadsSuite(name, open)
  metadataLeasesSuite(name, open)
}
