/**
 * `curl -F file=@…`: multipart/form-data through multer, whose storage engine is the upload pipeline itself. No
 * temporary file, no buffering beyond the client library's budget; a request that is broken off leaves nothing behind.
 */
import type { Request, Response } from 'express'
import multer, { type StorageEngine } from 'multer'
import type { FileInfo } from '../client/index.js'
import { CairnError, isCairnError, messageOf } from '../common/errors/cairn-error.js'
import { parseFilePath } from '../common/path-name.js'
import { entityTag } from '../common/protocol/precondition.js'
import { KiB } from '../common/units.js'
import { abortOnDisconnect, bodyOf, invite } from './body.js'
import { fileAnswer } from './content-routes.js'
import type { Gateway } from './gateway.js'
import { changeConditionOf, pathOf, uploadOptionsOf, viewOf } from './request.js'

/** What multer hands back per file: its own fields, and the file that it became. */
type StoredFile = Partial<Express.Multer.File> & { readonly cairn: FileInfo }

/** Files in one form. */
const FORM_FILES_MAX = 100
/** Fields beside the files are ignored, but multer keeps them in memory. */
const FIELD_LIMITS = { fields: 100, fieldSize: 64 * KiB }

class UploadEngine implements StorageEngine {
  readonly #gateway: Gateway
  readonly #signal: AbortSignal
  readonly #pathFor: (file: Express.Multer.File) => string
  /** Told of a failure at once, while multer would first read the form to its end. */
  readonly #onError: (error: unknown) => void

  constructor(
    gateway: Gateway,
    signal: AbortSignal,
    pathFor: (file: Express.Multer.File) => string,
    onError: (error: unknown) => void,
  ) {
    this.#gateway = gateway
    this.#signal = signal
    this.#pathFor = pathFor
    this.#onError = onError
  }

  _handleFile(
    request: Request,
    file: Express.Multer.File,
    callback: (error?: unknown, info?: Partial<Express.Multer.File>) => void,
  ): void {
    this.#store(request, file).then(
      (stored) => callback(null, { size: stored.sizeBytes, cairn: stored } as StoredFile),
      (error: unknown) => {
        this.#onError(error)
        // Unread parts would keep the rest of the body from being read away.
        file.stream.resume()
        callback(error)
      },
    )
  }

  /** Another part failed: what this one has committed stays, as with any two uploads. */
  _removeFile(_request: Request, _file: Express.Multer.File, callback: (error: Error | null) => void): void {
    callback(null)
  }

  async #store(request: Request, file: Express.Multer.File): Promise<FileInfo> {
    const path = parseFilePath(this.#pathFor(file))
    const permit = await this.#gateway.uploads.acquire(1, this.#signal)
    try {
      const client = this.#gateway.client.view(viewOf(request))
      return await client.uploadStream(bodyOf(file.stream, this.#gateway.clock), path, {
        precondition: await changeConditionOf(request, client, path, this.#signal),
        signal: this.#signal,
        ...uploadOptionsOf(request),
      })
    } finally {
      permit.release()
    }
  }
}

/** One file, to the path in the address. */
export async function postContent(gateway: Gateway, request: Request, response: Response): Promise<void> {
  const path = pathOf(request)
  const files = await receive(gateway, request, response, 1, () => path)
  const [file] = files
  if (!file) throw new CairnError('INVALID_ARGUMENT', 'The form has no file. Send one, like: curl -F file=@LOCAL URL')
  response
    .status(file.generation === 1 ? 201 : 200)
    .set('etag', entityTag(file))
    .json(fileAnswer(file))
}

/** Any number of files into a bucket, each under the name it was sent with, after the prefix that `?prefix=` gives. */
export async function postFiles(gateway: Gateway, request: Request, response: Response): Promise<void> {
  const { bucket } = request.params as { bucket: string }
  const prefix = typeof request.query['prefix'] === 'string' ? request.query['prefix'] : ''
  const files = await receive(gateway, request, response, FORM_FILES_MAX, (file) => `/${bucket}/${prefix}${file.originalname}`)
  if (files.length === 0)
    throw new CairnError('INVALID_ARGUMENT', 'The form has no file. Send some, like: curl -F file=@LOCAL URL')
  response.status(201).json({ files: files.map(fileAnswer) })
}

async function receive(
  gateway: Gateway,
  request: Request,
  response: Response,
  limit: number,
  pathFor: (file: Express.Multer.File) => string,
): Promise<FileInfo[]> {
  if (!request.is('multipart/form-data')) {
    throw new CairnError('INVALID_ARGUMENT', 'POST takes multipart/form-data. For a plain body use PUT.')
  }
  const signal = abortOnDisconnect(response)
  await new Promise<void>((resolve, reject) => {
    const engine = new UploadEngine(gateway, signal, pathFor, reject)
    const parse = multer({ storage: engine, limits: { ...FIELD_LIMITS, files: limit }, defParamCharset: 'utf8' }).any()
    invite(request, response)
    // Express is called back here, not given the rest of the chain.
    parse(request, response, (error?: unknown) => (error ? reject(formError(error)) : resolve()))
  })
  return ((request.files ?? []) as unknown as StoredFile[]).map((file) => file.cairn)
}

function formError(error: unknown): CairnError {
  if (isCairnError(error)) return error
  return new CairnError('INVALID_ARGUMENT', `The form cannot be read: ${messageOf(error)}.`, { cause: error })
}
