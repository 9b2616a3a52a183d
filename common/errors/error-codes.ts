/**
 * The one table of error codes: what each means, how it looks over HTTP and in a shell, and what the caller may do.
 *
 * `docs/errors.md` is generated from this table and a test keeps the two equal. Codes are stable: callers match on
 * them, never on messages. Adding a code is compatible, changing or removing one is not.
 */

import type { ErrorCodeInfo } from './error-info.js'

const define = <const T extends Record<string, ErrorCodeInfo>>(table: T): T => table

export const ERROR_CODES = define({
  // Requests that can never work as sent.
  USAGE: { httpStatus: 400, exitCode: 2, action: 'never', meaning: 'The command or its options are not understood. See --help.' },
  INVALID_ARGUMENT: {
    httpStatus: 400,
    exitCode: 2,
    action: 'never',
    meaning: 'A field of the request has the wrong type or is out of range. The message names the field.',
  },
  INVALID_PATH: {
    httpStatus: 400,
    exitCode: 2,
    action: 'never',
    meaning:
      'A path must be /bucket/key, at most 1024 bytes, without empty, "." or ".." segments and without NUL. Correct the path.',
  },
  INVALID_RANGE: {
    httpStatus: 416,
    exitCode: 2,
    action: 'never',
    meaning: 'The byte range starts past the end of the file or is malformed. Ask for a range within the size that stat prints.',
  },
  LENGTH_REQUIRED: { httpStatus: 411, exitCode: 2, action: 'never', meaning: 'The request needs a Content-Length. Send one.' },
  PAYLOAD_TOO_LARGE: {
    httpStatus: 413,
    exitCode: 2,
    action: 'never',
    meaning: 'The body is larger than this address takes. File contents go to the gateway or through the client library.',
  },
  PROTOCOL_ERROR: {
    httpStatus: 400,
    exitCode: 1,
    action: 'never',
    meaning:
      'The other side sent something that is not this protocol. Check that the address is that of a Cairn server of a matching version.',
  },
  ROUTE_NOT_FOUND: {
    httpStatus: 404,
    exitCode: 3,
    action: 'never',
    meaning: 'No such address on this server. The routes are listed in /v1/openapi.json.',
  },
  METHOD_NOT_ALLOWED: {
    httpStatus: 405,
    exitCode: 2,
    action: 'never',
    meaning: 'The address exists but does not take this method. The Allow header lists those it does.',
  },
  REQUEST_ID_REUSED: {
    httpStatus: 409,
    exitCode: 1,
    action: 'never',
    meaning: 'The request id was already used for a different request in the last 24 hours. Use a fresh id for each request.',
  },

  // Who is asking.
  UNAUTHENTICATED: {
    httpStatus: 401,
    exitCode: 1,
    action: 'never',
    meaning: 'No token, or one this cluster does not know. Pass --token or set CAIRN_TOKEN to the token that `cairn up` printed.',
  },
  FORBIDDEN: {
    httpStatus: 403,
    exitCode: 1,
    action: 'never',
    meaning: 'The token is valid but lacks the scope for this. Use a token with the scope that the message names.',
  },
  CAPABILITY_INVALID: {
    httpStatus: 403,
    exitCode: 1,
    action: 'refresh-locations',
    meaning:
      'The chunkserver does not accept this chunk capability: it is malformed, signed with a key it does not know, or made for something else. Ask the master for a fresh one.',
  },
  CAPABILITY_EXPIRED: {
    httpStatus: 403,
    exitCode: 1,
    action: 'refresh-locations',
    meaning: "The chunk capability has expired by the master's clock. Ask the master for a fresh one.",
  },
  INCARNATION_CHANGED: {
    httpStatus: 409,
    exitCode: 5,
    action: 'reallocate',
    meaning: 'The chunkserver has restarted since the write token was made. Ask the master for new targets.',
  },

  // The namespace.
  FILE_NOT_FOUND: {
    httpStatus: 404,
    exitCode: 3,
    action: 'never',
    meaning: 'There is no file at this path. List its parent with `cairn ls`.',
  },
  BUCKET_NOT_FOUND: {
    httpStatus: 404,
    exitCode: 3,
    action: 'never',
    meaning: 'There is no such bucket. The first put creates it, or `cairn bucket create`.',
  },
  BUCKET_NOT_EMPTY: {
    httpStatus: 409,
    exitCode: 4,
    action: 'never',
    meaning: 'The bucket still holds files or open uploads. Remove them first.',
  },
  ALREADY_EXISTS: {
    httpStatus: 412,
    exitCode: 4,
    action: 'never',
    meaning:
      'Something exists at the path and the request asked for it to be absent. Use another path, or --force / no --if-absent to replace it.',
  },
  PRECONDITION_FAILED: {
    httpStatus: 412,
    exitCode: 4,
    action: 'never',
    meaning: 'The file is not at the generation that the request named. Read it again and decide anew.',
  },
  NOT_MODIFIED: {
    httpStatus: 304,
    exitCode: 1,
    action: 'never',
    meaning: 'The file still is the one that If-None-Match named. Use the copy at hand.',
  },
  TRASH_ENTRY_NOT_FOUND: {
    httpStatus: 404,
    exitCode: 3,
    action: 'never',
    meaning: 'No deleted file of this path is left in the trash. It may have been purged.',
  },
  JOB_NOT_FOUND: {
    httpStatus: 404,
    exitCode: 3,
    action: 'never',
    meaning: 'There is no such job. `cairn status` lists those that exist.',
  },

  // Uploads.
  UPLOAD_NOT_FOUND: {
    httpStatus: 404,
    exitCode: 3,
    action: 'never',
    meaning: 'The upload session does not exist: it was aborted, or expired after seven idle days. Start the upload again.',
  },
  UPLOAD_SUPERSEDED: {
    httpStatus: 409,
    exitCode: 4,
    action: 'never',
    meaning: 'Another client has taken over this upload session. This one has stopped; nothing of what it sent is lost.',
  },
  UPLOAD_ACTIVE: {
    httpStatus: 409,
    exitCode: 4,
    action: 'retry',
    meaning:
      'Another client is writing to this upload session. Wait until it has been idle for 30 s, or upload in a session of your own.',
  },
  UPLOAD_CLOSED: {
    httpStatus: 409,
    exitCode: 4,
    action: 'never',
    meaning: 'The upload session is already committed or aborted. Start a new upload.',
  },
  UPLOAD_INCOMPLETE: {
    httpStatus: 409,
    exitCode: 1,
    action: 'never',
    meaning:
      'The commit does not match the chunks that were reported: one is missing, or sizes or checksum differ. Send the missing chunks and commit again.',
  },
  SOURCE_CHANGED: {
    httpStatus: 409,
    exitCode: 1,
    action: 'never',
    meaning: 'The local file changed while it was being uploaded. Run the command again when nothing writes to the file.',
  },
  NOT_ENOUGH_REPLICAS: {
    httpStatus: 503,
    exitCode: 5,
    action: 'reallocate',
    meaning:
      "A chunk has fewer live synced copies than the bucket's minReplicas. Nothing was acknowledged; try again when more chunkservers are serving.",
  },
  NOT_ENOUGH_SERVERS: {
    httpStatus: 503,
    exitCode: 5,
    action: 'retry',
    meaning:
      'Too few chunkservers are serving with free space to hold minReplicas copies. Start chunkservers or free space; `cairn status` shows them.',
  },

  // Chunks.
  CHUNK_NOT_FOUND: {
    httpStatus: 404,
    exitCode: 3,
    action: 'other-replica',
    meaning: 'This chunkserver does not hold the chunk. Another replica may.',
  },
  CHUNK_EXISTS: {
    httpStatus: 409,
    exitCode: 1,
    action: 'never',
    meaning: 'The chunk id already holds other bytes here. Chunks are immutable: changed bytes take a new chunk id.',
  },
  CHUNK_CORRUPT: {
    httpStatus: 500,
    exitCode: 6,
    action: 'other-replica',
    meaning: 'The stored bytes do not match their checksum. The copy is set aside and rebuilt; read another replica.',
  },
  CHUNK_SIZE_MISMATCH: {
    httpStatus: 422,
    exitCode: 1,
    action: 'retry',
    meaning: 'The body has more or fewer bytes than the write token names. Nothing was stored.',
  },
  CHECKSUM_MISMATCH: {
    httpStatus: 422,
    exitCode: 6,
    action: 'retry',
    meaning: 'The bytes received do not match the checksums sent with them. Nothing was stored; send them again.',
  },
  CHUNK_UNAVAILABLE: {
    httpStatus: 503,
    exitCode: 5,
    action: 'retry',
    meaning: 'No live server holds a copy of a chunk right now. Start the servers that hold it; `cairn chunk locate` names them.',
  },
  DATA_LOST: {
    httpStatus: 500,
    exitCode: 6,
    action: 'never',
    meaning:
      'Every copy of some leaf of a chunk is damaged. The message names chunk and offset; other ranges of the file still read.',
  },

  // Servers.
  SERVER_NOT_FOUND: {
    httpStatus: 404,
    exitCode: 3,
    action: 'never',
    meaning: 'The master does not know this chunkserver. `cairn status` lists those it knows.',
  },
  SERVER_ID_CONFLICT: {
    httpStatus: 409,
    exitCode: 1,
    action: 'never',
    meaning:
      'Another running process has registered with this server id: the data directory was copied. Remove disk.json from each directory of the copy to let it join as a new server.',
  },
  SERVER_REMOVED: {
    httpStatus: 409,
    exitCode: 1,
    action: 'never',
    meaning: 'The chunkserver was removed from the cluster. Empty its directories to let it join as a new server.',
  },
  PLAN_REFUSED: {
    httpStatus: 409,
    exitCode: 4,
    action: 'never',
    meaning:
      'What was asked of a server cannot be done without losing copies. The message says what is missing; nothing was changed.',
  },
  SERVER_UNREGISTERED: {
    httpStatus: 409,
    exitCode: 5,
    action: 'retry',
    meaning: 'The chunkserver must register again: the master has restarted or has declared it dead.',
  },
  WRONG_CLUSTER: {
    httpStatus: 409,
    exitCode: 1,
    action: 'never',
    meaning: 'The data directory belongs to another cluster. Use an empty directory, or the master of that cluster.',
  },
  FENCED: {
    httpStatus: 503,
    exitCode: 5,
    action: 'reallocate',
    meaning: 'The chunkserver has not reached a master for half the dead time and takes no writes. Other servers do.',
  },
  DISK_FULL: {
    httpStatus: 507,
    exitCode: 5,
    action: 'reallocate',
    meaning: 'The chunkserver has no room for this chunk. Add disks or servers, or remove files with --purge.',
  },
  DISK_FAILED: {
    httpStatus: 503,
    exitCode: 5,
    action: 'reallocate',
    meaning: 'The disk under this chunk has failed and is out of use. Its chunks are rebuilt elsewhere; replace the disk.',
  },
  DISK_HANGS: {
    httpStatus: 503,
    exitCode: 5,
    action: 'reallocate',
    meaning:
      'The disk under this chunk does not answer now. Read another copy, or write to another server; if it goes on, the disk goes out of use.',
  },
  DIRECTORY_LOCKED: {
    httpStatus: 409,
    exitCode: 1,
    action: 'never',
    meaning: 'Another running process uses this data directory. Stop it first, or choose another directory.',
  },
  BUSY: {
    httpStatus: 503,
    exitCode: 5,
    action: 'retry',
    meaning: 'The server has as much work as its memory budget allows. Try again shortly.',
  },
  STARTING: { httpStatus: 503, exitCode: 5, action: 'retry', meaning: 'The server is still starting. Try again shortly.' },
  SHUTTING_DOWN: {
    httpStatus: 503,
    exitCode: 5,
    action: 'retry',
    meaning: 'The server is stopping. Try again, or another server.',
  },

  // Between machines, and on this one.
  MASTER_UNREACHABLE: {
    httpStatus: 503,
    exitCode: 5,
    action: 'retry',
    meaning: 'No master answers at the given address. Check --master / CAIRN_MASTER and that the cluster is up.',
  },
  NOT_ACTIVE: { httpStatus: 503, exitCode: 5, action: 'retry', meaning: 'Another master of the cluster acts. Ask that one.' },
  METADATA_UNAVAILABLE: {
    httpStatus: 503,
    exitCode: 5,
    action: 'retry',
    meaning:
      'The master does not reach its metadata database, or no host of it takes writes now. Repeat the request under the same id: if it was carried out, its result is found.',
  },
  CONNECTION_FAILED: {
    httpStatus: 503,
    exitCode: 5,
    action: 'retry',
    meaning: 'The connection was refused, reset or closed before the answer was whole.',
  },
  TIMEOUT: { httpStatus: 504, exitCode: 5, action: 'retry', meaning: 'The other side made no progress within the time allowed.' },
  ABORTED: {
    httpStatus: 499,
    exitCode: 1,
    action: 'never',
    meaning: 'The operation was aborted by its caller. Run it again to go on where it stopped.',
  },
  PORT_IN_USE: {
    httpStatus: 500,
    exitCode: 1,
    action: 'never',
    meaning: 'Another program listens on this port. Choose another with --port, or 0 for any.',
  },
  LOCAL_FILE_NOT_FOUND: { httpStatus: 404, exitCode: 3, action: 'never', meaning: 'The local file or directory does not exist.' },
  LOCAL_FILE_EXISTS: {
    httpStatus: 409,
    exitCode: 4,
    action: 'never',
    meaning: 'Something else stands at the local path. Choose another target.',
  },
  LOCAL_DISK_FULL: {
    httpStatus: 507,
    exitCode: 1,
    action: 'never',
    meaning: 'The local disk is full. What was downloaded is kept: free space and run the command again.',
  },
  LOCAL_IO_ERROR: {
    httpStatus: 500,
    exitCode: 1,
    action: 'never',
    meaning: 'The local file system refused or failed. The message holds its own error.',
  },
  INTERNAL: {
    httpStatus: 500,
    exitCode: 1,
    action: 'never',
    meaning: 'A fault in Cairn itself. The log of the server named in the message has the request id and a stack.',
  },
})

export type ErrorCode = keyof typeof ERROR_CODES

export const isErrorCode = (value: string): value is ErrorCode => Object.hasOwn(ERROR_CODES, value)
