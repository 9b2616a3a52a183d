/** Conditions on a change: by generation, as If-Match and If-None-Match carry them, or in a request's body. */
import { z } from 'zod'
import { CairnError } from '../errors/cairn-error.js'
import type { Headers } from '../rpc/transport.js'

export const precondition = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('none') }),
  /** Nothing may exist at the path. */
  z.object({ kind: z.literal('absent') }),
  /** Something must exist at the path, whatever it is. */
  z.object({ kind: z.literal('exists') }),
  /** The file at the path must be at this generation. */
  z.object({ kind: z.literal('generation'), generation: z.number().int().min(1) }),
])

export type Precondition = z.infer<typeof precondition>

export const NO_PRECONDITION: Precondition = { kind: 'none' }

/** The entity tag of a file: its generation, and its checksum so that the tag names the content too. */
export const entityTag = (file: { readonly generation: number; readonly checksum: string }): string =>
  `"${file.generation}-${file.checksum.slice(file.checksum.indexOf(':') + 1)}"`

/** The generation that an entity tag (`"3-af…"`, `"3"` or `3`) names. @throws `INVALID_ARGUMENT` */
export function generationOfTag(tag: string): number {
  const match = /^(?:W\/)?"?(\d{1,15})(?:-[0-9a-f]{16})?"?$/.exec(tag.trim())
  if (!match)
    throw new CairnError(
      'INVALID_ARGUMENT',
      `"${tag}" is not an entity tag of a file. It looks like "3" or "3-<checksum>", as stat and the ETag header give it.`,
    )
  return Number(match[1])
}

/**
 * The condition of a change. (On a read, If-None-Match means something else: "unless I have it already".)
 * @throws `INVALID_ARGUMENT` on what we cannot keep: a condition left out would be a change that nobody asked for
 */
export function preconditionFromHeaders(headers: Headers): Precondition {
  const ifNoneMatch = headers['if-none-match']
  if (ifNoneMatch?.trim() === '*') return { kind: 'absent' }
  if (ifNoneMatch !== undefined)
    throw new CairnError('INVALID_ARGUMENT', 'A change takes If-None-Match only as *: nothing may exist at the path.')
  const ifMatch = headers['if-match']
  if (ifMatch?.trim() === '*') return { kind: 'exists' }
  if (ifMatch !== undefined) return { kind: 'generation', generation: generationOfTag(ifMatch) }
  return NO_PRECONDITION
}

export function preconditionHeaders(condition: Precondition): Headers {
  switch (condition.kind) {
    case 'none':
      return {}
    case 'absent':
      return { 'if-none-match': '*' }
    case 'exists':
      return { 'if-match': '*' }
    case 'generation':
      return { 'if-match': `"${condition.generation}"` }
  }
}

/** @param current the generation now at the path, undefined when nothing is there. @throws `ALREADY_EXISTS`, `PRECONDITION_FAILED` */
export function checkPrecondition(condition: Precondition, path: string, current: number | undefined): void {
  if (condition.kind === 'absent' && current !== undefined) {
    throw new CairnError(
      'ALREADY_EXISTS',
      `${path} exists (generation ${current}). Use another path, or drop the condition to replace it.`,
    )
  }
  if (condition.kind === 'exists' && current === undefined) {
    throw new CairnError('PRECONDITION_FAILED', `${path} does not exist, and the condition asks for a file there.`)
  }
  if (condition.kind === 'generation' && current !== condition.generation) {
    const now = current === undefined ? 'does not exist' : `is at generation ${current}`
    throw new CairnError(
      'PRECONDITION_FAILED',
      `${path} ${now}, not at generation ${condition.generation}. Read it again and decide anew.`,
    )
  }
}
