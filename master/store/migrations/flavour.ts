/**
 * In what the data definitions of the engines differ. Migrations are written in SQLite's words, which PostgreSQL's types are
 * put in place of; that is all that differs, so that one list of migrations makes the same schema on both.
 */
export interface Flavour {
  /** Ends the definition of a table that is stored in the order of its key, where the engine has to be told. */
  readonly inKeyOrder: string
  /** The literal of no bytes at all. */
  readonly noBytes: string
  /** The engine's own words for a statement. */
  readonly translate: (statement: string) => string
}

export const SQLITE: Flavour = { inKeyOrder: ' without rowid', noBytes: "x''", translate: (statement) => statement }

/** A `real` has 8 bytes in SQLite and 4 in PostgreSQL. */
const TYPES: Readonly<Record<string, string>> = { blob: 'bytea', real: 'double precision' }

/** PostgreSQL, and what speaks its protocol. */
export const POSTGRES: Flavour = {
  inKeyOrder: '',
  noBytes: "''",
  translate: (statement) => statement.replace(/\b(?:blob|real)\b/g, (type) => TYPES[type] as string),
}
