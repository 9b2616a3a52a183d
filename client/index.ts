/** The client library's public face. Everything else in this folder may change. */
export {
  CairnClient,
  type ChangeOptions,
  type ClientPlatform,
  type ListOptions,
  type StreamUploadOptions,
} from './cairn-client.js'
export { openNodeClient } from './platform/node-client.js'
export { nodeOwner } from './platform/node-owner.js'
export type { ClientOptions, Progress, TransferOptions } from './options.js'
export type { ByteRange, DownloadOptions } from './download/download.js'
export { resolveRange } from './download/download.js'
export type { CheckedChunk, CheckedCopy, CopyOutcome } from './verify.js'
export type { UploadOptions } from './upload/upload.js'
export { CairnError, isCairnError } from '../common/errors/cairn-error.js'
export { ERROR_CODES, type ErrorCode } from '../common/errors/error-codes.js'
export { localChecksum } from './upload/local-checksum.js'
export type { FileInfo, ListEntry } from '../common/protocol/files.js'
export type { Precondition } from '../common/protocol/precondition.js'
