/** The bytes of test files: each content is told by its first bytes, and all of it follows from them. */
const WORD_BYTES = 4
const MARK = 0x5eed

export interface Content {
  readonly id: number
  readonly sizeBytes: number
}

/** The empty file is the same whoever wrote it. */
export const EMPTY: Content = { id: 0, sizeBytes: 0 }
/** Below this a content could not say what it is. */
export const CONTENT_BYTES_MIN = 12

export function bytesOf({ id, sizeBytes }: Content): Uint8Array {
  const words = new Uint32Array(Math.ceil(sizeBytes / WORD_BYTES))
  let state = (Math.imul(id + 1, 0x9e3779b1) ^ sizeBytes) | 1
  for (let index = 0; index < words.length; index += 1) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[index] = state
  }
  if (sizeBytes >= CONTENT_BYTES_MIN) words.set([id, sizeBytes, MARK])
  return new Uint8Array(words.buffer, 0, sizeBytes)
}

/**
 * Which content these bytes are, from byte `start` of it on.
 * @param expected for a part that does not begin at 0, where nothing says what it is
 * @returns undefined when they are no content whole and unchanged
 */
export function identify(bytes: Uint8Array, start: number, expected: Content | undefined): Content | undefined {
  if (start === 0 && bytes.length === 0 && (!expected || expected.sizeBytes === 0)) return EMPTY
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const told = start === 0 && bytes.length >= CONTENT_BYTES_MIN && view.getUint32(8, true) === MARK
  const content = told ? { id: view.getUint32(0, true), sizeBytes: view.getUint32(4, true) } : expected
  if (!content || content.sizeBytes > 64 * 1024 * 1024) return undefined
  const whole = bytesOf(content).subarray(start, start + bytes.length)
  return Buffer.compare(whole, bytes) === 0 ? content : undefined
}
