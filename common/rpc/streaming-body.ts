/** Holds a {@link StreamingBody} to the length it announced: the reader's place in the stream depends on it. */
import { CairnError } from '../errors/cairn-error.js'
import type { ByteSink, StreamingBody } from './transport.js'

/** @throws `INTERNAL` when the body turns out shorter or longer than it said; not a byte too many is written */
export async function produceExactly(body: StreamingBody, sink: ByteSink): Promise<void> {
  let left = body.contentLength
  await body.produce({
    write: (bytes) => {
      left -= bytes.length
      if (left < 0) return Promise.reject(wrongLength(body))
      return sink.write(bytes)
    },
  })
  if (left !== 0) throw wrongLength(body)
}

const wrongLength = (body: StreamingBody): CairnError =>
  new CairnError('INTERNAL', `A body of ${body.contentLength} bytes was announced and another produced.`)
