/** A nominal type: a `Brand<string, 'ChunkId'>` is a string that only its parser or maker can produce. */
declare const brand: unique symbol
export type Brand<Base, Name extends string> = Base & { readonly [brand]: Name }
