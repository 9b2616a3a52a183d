/** `/v1/files/{bucket}/{key}/content`: PUT, GET, HEAD, DELETE. What `curl -T`, `curl -r` and `wget -c` speak. */
import type { Request, Response } from 'express'
import type { FileInfo } from '../client/index.js'
import { entityTag } from '../common/protocol/precondition.js'
import { CairnError } from '../common/errors/cairn-error.js'
import { SECOND_MS } from '../common/units.js'
import { abortOnDisconnect, invitedBodyOf } from './body.js'
import type { Gateway } from './gateway.js'
import {
  changeConditionOf,
  checkReadConditions,
  contentLengthOf,
  isNotModified,
  pathOf,
  rangeOf,
  uploadOptionsOf,
  viewOf,
} from './request.js'

/** A reader who takes nothing for so long is taken for gone: what waits for it is a block of memory and a turn of others. */
const READER_IDLE_MS = 120 * SECOND_MS

export const fileAnswer = (file: FileInfo) => ({
  path: file.path,
  generation: file.generation,
  sizeBytes: file.sizeBytes,
  checksum: file.checksum,
})

export async function putContent(gateway: Gateway, request: Request, response: Response): Promise<void> {
  const path = pathOf(request)
  if (request.headers['content-range'] !== undefined) {
    throw new CairnError(
      'INVALID_ARGUMENT',
      'A part of a file cannot be put. Send the whole file; `cairn put` resumes by itself.',
    )
  }
  const signal = abortOnDisconnect(response)
  const permit = await gateway.uploads.acquire(1, signal)
  try {
    const client = gateway.client.view(viewOf(request))
    const file = await client.uploadStream(invitedBodyOf(request, response, gateway.clock), path, {
      sizeBytes: contentLengthOf(request),
      precondition: await changeConditionOf(request, client, path, signal),
      signal,
      ...uploadOptionsOf(request),
    })
    response
      .status(file.generation === 1 ? 201 : 200)
      .set('etag', entityTag(file))
      .json(fileAnswer(file))
  } finally {
    permit.release()
  }
}

export async function getContent(gateway: Gateway, request: Request, response: Response): Promise<void> {
  const signal = abortOnDisconnect(response)
  const client = gateway.client.view(viewOf(request))
  const file = await client.stat(pathOf(request), signal)
  checkReadConditions(request, file)
  describe(response, file)
  if (isNotModified(request, file)) return void response.status(304).end()
  const range = rangeOf(request, file)
  const sizeBytes = range ? range.end - range.start : file.sizeBytes
  response.status(range ? 206 : 200).set('content-length', String(sizeBytes))
  if (range) response.set('content-range', `bytes ${range.start}-${range.end - 1}/${file.sizeBytes}`)
  if (request.method === 'HEAD') return void response.end()
  const permit = await gateway.downloads.acquire(1, signal)
  try {
    response.setTimeout(READER_IDLE_MS, () => response.destroy())
    // The head goes out with the first bytes, so that trouble before them is still an answer.
    for await (const piece of client.download(file, { range, signal })) await write(response, piece)
    response.end()
  } finally {
    permit.release()
  }
}

function describe(response: Response, file: FileInfo): void {
  response.set({
    'content-type': 'application/octet-stream',
    'x-content-type-options': 'nosniff',
    'accept-ranges': 'bytes',
    etag: entityTag(file),
    'last-modified': new Date(file.modifiedMs).toUTCString(),
    'x-cairn-checksum': file.checksum,
    'x-cairn-generation': String(file.generation),
  })
}

/** Resolves when the piece's memory may be reused. */
function write(response: Response, piece: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    response.write(piece, (error) => (error ? reject(error) : resolve()))
  })
}

export async function deleteContent(gateway: Gateway, request: Request, response: Response): Promise<void> {
  const client = gateway.client.view(viewOf(request))
  const path = pathOf(request)
  const precondition = await changeConditionOf(request, client, path, abortOnDisconnect(response))
  await client.delete(path, { precondition, purge: request.query['purge'] === 'true' })
  response.status(204).end()
}
