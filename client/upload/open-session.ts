/** Opening an upload session: a new one, or an interrupted one of the same source. */
import { sleep } from '../../common/clock/clock.js'
import { CairnError, isCairnError } from '../../common/errors/cairn-error.js'
import { parseFilePath } from '../../common/path-name.js'
import type { Adoption } from '../../common/protocol/uploads.js'
import { SECOND_MS } from '../../common/units.js'
import type { UploadOptions, UploadServices } from './upload.js'
import { UploadSession } from './session.js'
import type { UploadSource } from './source.js'

/** Who writes. On one machine it can be told whether an earlier writer still runs. */
export interface OwnerIdentity {
  readonly name: string
  /** True only when `name` is certain not to run any more; undefined when that cannot be told. */
  isGone(name: string): boolean | undefined
}

const POLL_MS = 1 * SECOND_MS

/** @throws `ALREADY_EXISTS`, `PRECONDITION_FAILED`, `INVALID_PATH`, `UPLOAD_ACTIVE`, and as the master API */
export async function openSession(
  services: UploadServices,
  source: UploadSource,
  path: string,
  options: UploadOptions,
  signal: AbortSignal,
): Promise<UploadSession> {
  parseFilePath(path)
  const fingerprint = source.resumable ? await source.fingerprint() : null
  const wish = source.isSmall ? wholeFile(source.sizeBytes ?? 0, services.context.zone) : undefined
  const open = async (adoption: Adoption): Promise<UploadSession> => {
    const info = await services.api.call('openUpload', {
      body: {
        path,
        sizeBytes: source.sizeBytes,
        fingerprint,
        owner: services.owner.name,
        adoption,
        ...(options.chunkSizeBytes === undefined ? {} : { chunkSizeBytes: options.chunkSizeBytes }),
        ...(options.replicas === undefined ? {} : { replicas: options.replicas }),
        ...(options.precondition === undefined ? {} : { precondition: options.precondition }),
        ...(wish ? { allocate: wish } : {}),
      },
      // What nobody could take up again must be known, so that it can be dropped: the answer is waited for.
      signal: source.resumable ? signal : undefined,
      isSmall: source.isSmall || source.sizeBytes === 0,
    })
    return new UploadSession(info, services.api, services.context, signal, (after, count) =>
      source.upcoming(after, count, info.chunkSizeBytes),
    )
  }
  if (fingerprint === null) return open({ kind: 'none' })
  return adoptOrOpen(services, options, open, signal)
}

const wholeFile = (lengthBytes: number, zone: string | undefined) => ({
  chunks: [{ index: 0, lengthBytes }],
  ...(zone === undefined ? {} : { zone }),
})

/**
 * A session of the same source that was active a moment ago belongs to a run that died (then we go on with it, at once if
 * that is certain, else as soon as it has been silent long enough) or to one that lives (then we start our own).
 */
async function adoptOrOpen(
  services: UploadServices,
  options: UploadOptions,
  open: (adoption: Adoption) => Promise<UploadSession>,
  signal: AbortSignal,
): Promise<UploadSession> {
  let lastActiveMs: number | undefined
  for (;;) {
    try {
      return await open({ kind: 'if-idle' })
    } catch (error) {
      if (!isCairnError(error, 'UPLOAD_ACTIVE')) throw error
      const { uploadId, owner, activeMs } = activeData(error)
      const gone = services.owner.isGone(owner)
      if (gone === true) return open({ kind: 'take-over', uploadId })
      if (gone === false || (lastActiveMs !== undefined && activeMs > lastActiveMs)) return open({ kind: 'none' })
      if (lastActiveMs === undefined)
        options.onNotice?.(`${owner} was uploading this file here a moment ago; waiting to see whether it still is`)
      lastActiveMs = activeMs
      await sleep(services.context.clock, POLL_MS, signal)
    }
  }
}

function activeData(error: CairnError): {
  uploadId: Extract<Adoption, { kind: 'take-over' }>['uploadId']
  owner: string
  activeMs: number
} {
  const { uploadId, owner, activeMs } = (error.data ?? {}) as Record<string, unknown>
  if (typeof uploadId !== 'string' || typeof owner !== 'string' || typeof activeMs !== 'number') {
    throw new CairnError('PROTOCOL_ERROR', 'The master did not say whose the active upload is.')
  }
  return { uploadId: uploadId as never, owner, activeMs }
}
