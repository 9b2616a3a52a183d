/**
 * The seam to the network: requests and answers in the manner of HTTP, without its machinery. The real one is in
 * `http/`, the simulated one in `memory-network.ts`; `test/contract/transport.suite.ts` holds for both.
 *
 * Two ways to ask: a *call* is small, whole and buffered (control plane); an *exchange* streams (chunk bytes).
 */

/** Header names are lower case. */
export type Headers = Readonly<Record<string, string>>

export type Method = 'GET' | 'HEAD' | 'PUT' | 'POST' | 'PATCH' | 'DELETE'

export interface CallRequest {
  readonly method: Method
  readonly url: string
  readonly headers?: Headers
  readonly body?: Uint8Array
  /** Time for the whole call. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal
}

export interface CallResponse {
  readonly status: number
  readonly headers: Headers
  readonly body: Uint8Array
}

/** What an answer to a call may weigh; a larger one is a `PROTOCOL_ERROR`. */
export const CALL_RESPONSE_BYTES_MAX = 64 * 1024 * 1024

export interface ExchangeRequest {
  readonly method: Method
  readonly url: string
  readonly headers?: Headers
  /** Exact length of the request body; 0 for none. */
  readonly contentLength: number
  /** Wait for the other side's go-ahead before the body: it is then never sent in vain. */
  readonly expectContinue?: boolean
  /** Fails with `TIMEOUT` when, for so long, no byte moves in either direction. Interim answers count as bytes. */
  readonly stallTimeoutMs: number
  readonly signal?: AbortSignal
}

/** One streaming request under way. Whoever opened it either consumes the response or calls {@link Exchange.destroy}. */
export interface Exchange {
  /** Resolves when the body may be sent: at the go-ahead, or at once where none was asked for. Rejects as {@link write} does. */
  readonly ready: Promise<void>
  /** True once the other side has answered, be it before the body is whole. Sending more is pointless then. */
  readonly answered: boolean
  /**
   * Sends a piece of the body and resolves once the memory may be reused.
   * @throws `CONNECTION_FAILED`, `TIMEOUT`, or the reason of the abort. After an early answer the bytes are dropped silently.
   */
  write(bytes: Uint8Array): Promise<void>
  /** The answer. Same rejections as {@link write}. */
  readonly response: Promise<StreamResponse>
  /** Breaks the connection off. */
  destroy(reason: Error): void
}

export interface StreamResponse {
  readonly status: number
  readonly headers: Headers
  readonly contentLength: number
  readonly body: ByteReader
}

export interface ByteReader {
  /**
   * Fills `target` and returns its length, or less when the body ends before.
   * One call at a time. @throws as {@link Exchange.write}
   * @param onProgress told how much of `target` is filled, each time it has become more: what is there can be passed on
   *   while the rest arrives. It must not throw, nor read.
   */
  readInto(target: Uint8Array, onProgress?: (filledBytes: number) => void): Promise<number>
}

export interface ByteSink {
  /** As {@link Exchange.write}. */
  write(bytes: Uint8Array): Promise<void>
}

export interface IncomingRequest {
  readonly method: string
  /** Path as received, still percent-encoded, without the query. */
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: Headers
  readonly contentLength: number
  readonly body: ByteReader
  /** Aborts when the connection is gone before the answer is sent. */
  readonly signal: AbortSignal
  /** Sends an interim answer: 100, go ahead with the body; 102, still at work. Not after the final answer. */
  interim(status: 100 | 102): void
}

/** A body written as it comes into being. When `produce` rejects, the connection is broken off: the reader sees a short body. */
export interface StreamingBody {
  readonly contentLength: number
  produce(sink: ByteSink): Promise<void>
  /** Called instead of {@link produce} when nobody wants the body: lets go of what it holds. */
  discard(): Promise<void>
}

export interface OutgoingResponse {
  readonly status: number
  readonly headers?: Headers
  readonly body?: Uint8Array | StreamingBody
}

export type RequestHandler = (request: IncomingRequest) => Promise<OutgoingResponse>

export interface ListenOptions {
  readonly host: string
  /** 0: any free one. */
  readonly port: number
}

export interface Listener extends AsyncDisposable {
  /** `http://host:port`, without a slash at its end. */
  readonly url: string
  /** Stops listening, lets requests under way finish for up to `graceMs`, then cuts them. */
  close(graceMs?: number): Promise<void>
}

export interface Transport {
  /** @throws `CONNECTION_FAILED`, `TIMEOUT`, `PROTOCOL_ERROR`, or the reason of the abort */
  call(request: CallRequest): Promise<CallResponse>
  exchange(request: ExchangeRequest): Exchange
  /** @throws `PORT_IN_USE` */
  listen(options: ListenOptions, handler: RequestHandler): Promise<Listener>
  close(): Promise<void>
}

/** Whether the body is written piece by piece rather than given whole. */
export const isStreamingBody = (body: Uint8Array | StreamingBody | undefined): body is StreamingBody =>
  body !== undefined && !(body instanceof Uint8Array)
