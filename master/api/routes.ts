/** The master's routes: each endpoint with the few lines that serve it. No decisions here: they are in the parts it calls. */
import { CairnError } from '../../common/errors/cairn-error.js'
import type { ServerId } from '../../common/ids.js'
import { parseBucketName, parseFilePath, parseListPrefix } from '../../common/path-name.js'
import { endpoints } from '../../common/protocol/index.js'
import { entityTag, generationOfTag } from '../../common/protocol/precondition.js'
import { bindRoutes, type RequestContext, type Route } from '../../common/rpc/routes.js'
import { readSpace } from '../cluster/space.js'
import type { Master } from '../master.js'
import { chunkAnswer, manifestPage, problemOf, serverInfo, statusAnswer } from './answers.js'
import { batchServer } from './batch.js'
import { conditionOf, pathOf, requestKey } from './requests.js'

/** A file's ETag, and 304 when the client already has it. */
function tag(file: { generation: number; checksum: string }, context: RequestContext): void {
  const etag = entityTag(file)
  context.setHeader('etag', etag)
  const known = context.headers['if-none-match']
  if (
    known !== undefined &&
    known !== '*' &&
    generationOfTag(known) === file.generation &&
    (known.includes('-') ? known === etag : true)
  ) {
    throw new CairnError('NOT_MODIFIED', 'The file is the one that If-None-Match names.')
  }
}

export function masterRoutes(master: Master): Route[] {
  const { context, cluster, uploads, life } = master
  const { store, settings } = context
  const defaults = { bucketDefaults: settings.bucketDefaults }
  const serveBatch = batchServer(
    () => routes,
    () => master.routeServices(),
  )

  const routes = bindRoutes(endpoints, {
    getFile: async ({ params }, request) => {
      const path = pathOf(params)
      const file = await store.statFile({ path })
      if (!file) throw new CairnError('FILE_NOT_FOUND', `There is no file ${path}.`)
      tag(file, request)
      return file
    },
    deleteFile: async ({ params, query }, request) =>
      store.deleteFile({
        path: pathOf(params),
        purge: query.purge,
        precondition: request.precondition,
        ...requestKey(request, { params, query }),
      }),
    listFiles: async ({ query }) =>
      store.listPage({
        prefix: parseListPrefix(query.prefix),
        delimiter: query.delimiter,
        after: query.after,
        limit: query.limit,
      }),
    copyFile: async ({ body }, request) => {
      const file = await store.copyFile({
        from: parseFilePath(body.from),
        to: parseFilePath(body.to),
        precondition: conditionOf(body, request),
        ...defaults,
        ...requestKey(request, body),
      })
      request.setHeader('etag', entityTag(file))
      return file
    },
    renameFile: async ({ body }, request) => {
      const file = await store.renameFile({
        from: parseFilePath(body.from),
        to: parseFilePath(body.to),
        precondition: conditionOf(body, request),
        ...defaults,
        ...requestKey(request, body),
      })
      request.setHeader('etag', entityTag(file))
      return file
    },
    undeleteFile: async ({ body }, request) =>
      store.undeleteFile({ path: parseFilePath(body.path), ...requestKey(request, body) }),
    listManifestChunks: async ({ params, query }) => manifestPage(master, params.manifestId, query),
    findManifestChunk: async ({ params, query }) =>
      store.findManifestChunk({ manifestId: params.manifestId, offset: query.offset }),

    openUpload: async ({ body }, request) =>
      uploads.open(
        {
          path: parseFilePath(body.path),
          sizeBytes: body.sizeBytes,
          fingerprint: body.fingerprint,
          chunkSizeBytes: body.chunkSizeBytes,
          replicas: body.replicas,
          precondition: conditionOf(body, request),
          owner: body.owner,
          adoption: body.adoption,
          ...defaults,
          ...requestKey(request, body),
        },
        body.allocate,
      ),
    listUploads: async ({ query }) => {
      const found = await store.listUploads({ after: query.after ?? '', limit: query.limit })
      return { uploads: found, next: found.length === query.limit ? (found.at(-1)?.uploadId ?? null) : null }
    },
    listUploadChunks: async ({ params, query }) =>
      store.listUploadChunks({ uploadId: params.uploadId, from: query.from, limit: query.limit }),
    allocateChunks: async ({ params, body }, request) => ({
      chunks: await uploads.allocate({
        uploadId: params.uploadId,
        ...body,
        zone: body.zone,
        ...requestKey(request, { params, body }),
      }),
    }),
    reportChunks: async ({ params, body }) => uploads.report({ uploadId: params.uploadId, ...body }),
    keepUpload: async ({ params, body }) => store.keepUpload({ uploadId: params.uploadId, writerEpoch: body.writerEpoch }),
    commitUpload: async ({ params, body }, request) => {
      const file = await uploads.commit({ uploadId: params.uploadId, ...body, ...requestKey(request, { params, body }) })
      request.setHeader('etag', entityTag(file))
      return file
    },
    abortUpload: async ({ params }, request) => store.abortUpload({ uploadId: params.uploadId, ...requestKey(request, params) }),

    listBuckets: async ({ query }) => {
      const buckets = await store.listBuckets({ after: query.after ?? '', limit: query.limit })
      return { buckets, next: buckets.length === query.limit ? (buckets.at(-1)?.name ?? null) : null }
    },
    getBucket: async ({ params }) => {
      const bucket = await store.getBucket({ name: parseBucketName(params.bucket) })
      if (!bucket) throw new CairnError('BUCKET_NOT_FOUND', `There is no bucket ${params.bucket}.`)
      return bucket
    },
    putBucket: async ({ params, body }, request) => {
      const changes = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined))
      return store.putBucket({
        name: parseBucketName(params.bucket),
        changes,
        defaults: settings.bucketDefaults,
        ...requestKey(request, { params, body }),
      })
    },
    deleteBucket: async ({ params }, request) =>
      store.deleteBucket({ name: parseBucketName(params.bucket), ...requestKey(request, params) }),

    registerServer: async ({ body }) => cluster.register(body),
    heartbeat: async ({ params, body }) => cluster.heartbeat(params.serverId, body),
    reportShard: async ({ params, body }) => cluster.reportShard(params.serverId, body),

    listServers: async ({ query }) => {
      const all = cluster.views
        .all()
        .map(serverInfo)
        .sort((one, other) => (one.id < other.id ? -1 : 1))
      const page = all.filter((server) => query.after === undefined || server.id > query.after).slice(0, query.limit)
      return { servers: page, next: page.length === query.limit ? (page.at(-1)?.id ?? null) : null }
    },
    getStatus: async () => statusAnswer(master),
    getSpace: async () => readSpace(store, cluster),
    planServer: async ({ params, query }) => life.plan(params.serverId, query.action),
    changeServer: async ({ params, body }, request) => {
      const plan = await life.change({
        serverId: params.serverId,
        action: body.action,
        graceMs: body.graceMs,
        acceptDataLoss: body.acceptDataLoss,
        ...requestKey(request, { params, body }),
      })
      return { plan }
    },
    getRepair: async () => ({ speed: cluster.repairSpeed }),
    setRepair: async ({ body }, request) => {
      const speed = await store.setRepairSpeed({ speed: body.speed, ...requestKey(request, body) })
      cluster.repairSpeed = speed
      return { speed }
    },
    listFailingChunks: async ({ query }) => {
      const found = await store.listFailing({ after: query.after ?? '', limit: query.limit })
      return {
        chunks: found.map(({ healthClass, ...chunk }) => ({ ...chunk, problem: problemOf(healthClass) })),
        next: found.length === query.limit ? (found.at(-1)?.id ?? null) : null,
      }
    },
    getChunk: async ({ params }) => {
      const chunk = await store.getChunk({ chunkId: params.chunkId })
      if (!chunk) throw new CairnError('CHUNK_NOT_FOUND', `The metadata knows no chunk ${params.chunkId}.`)
      return chunkAnswer(master, params.chunkId, chunk)
    },
    reportBadReplica: async ({ params, body }) => {
      const view = knownServer(body.serverId)
      cluster.send(view.record.serverNo, { kind: 'verify', chunkIds: [params.chunkId] })
      return { queued: true }
    },

    getMetadata: async () => {
      const seen = cluster.latestSeen()
      return { own: await store.readPosition({}), seen, deletionsHeldSinceMs: await store.deletionsHeldSince({}) }
    },
    acceptMetadata: async () => cluster.acceptMetadata(),

    createJob: async ({ body }, request) => {
      const to = body.kind === 'delete-prefix' ? null : parseListPrefix(body.to)
      const flag = body.kind === 'delete-prefix' ? body.purge : body.overwrite
      const job = await store.createJob({
        kind: body.kind,
        from: parseListPrefix(body.from),
        to,
        flag,
        ...requestKey(request, body),
      })
      master.jobs.poke()
      return job
    },
    getJob: async ({ params }) => {
      const job = await store.getJob({ jobId: params.jobId })
      if (!job) throw new CairnError('JOB_NOT_FOUND', `There is no job ${params.jobId}.`)
      return job
    },

    batch: async ({ body }, request) => ({ answers: await serveBatch(body.requests, request) }),
  })
  return routes

  function knownServer(serverId: ServerId) {
    const view = cluster.views.byId(serverId)
    if (!view) throw new CairnError('SERVER_NOT_FOUND', `This master knows no server ${serverId}.`)
    return view
  }
}
