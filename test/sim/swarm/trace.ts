/**
 * What happened in a run: a running hash over every message, disk operation and timer, which two runs of one seed must
 * agree on, and, when asked for, lines to read.
 */
export class Trace {
  /** Events so far. Where two runs part ways, the first to differ is the one to look at. */
  count = 0
  readonly #print: ((line: string) => void) | undefined
  #high = 0x811c9dc5
  #low = 0x9e3779b9

  constructor(print?: (line: string) => void) {
    this.#print = print
  }

  get isPrinted(): boolean {
    return this.#print !== undefined
  }

  /** Goes into the hash alone. */
  mix(number: number): void {
    this.count += 1
    // A time has fractions: both halves of the number count.
    this.#low = Math.imul(this.#low ^ (number | 0), 0x85ebca6b) ^ (this.#low >>> 13)
    this.#high = Math.imul(this.#high ^ ((number * 4096) | 0) ^ this.#low, 0xc2b2ae35) ^ (this.#high >>> 16)
  }

  mixText(text: string): void {
    let hash = 0
    for (let index = 0; index < text.length; index += 1) hash = (Math.imul(hash, 31) + text.charCodeAt(index)) | 0
    this.mix(hash)
  }

  /** Goes into the hash, and is printed. */
  note(atMs: number, text: string): void {
    this.mixText(text)
    this.print(atMs, text)
  }

  /** Is printed alone. */
  print(atMs: number, text: string): void {
    this.#print?.(`${(atMs / 1000).toFixed(3).padStart(9)}  ${text}`)
  }

  hash(): string {
    return [this.#high, this.#low].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('')
  }
}
