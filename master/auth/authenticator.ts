/** Who a token belongs to. Tokens are kept as hashes; a short memory spares each request the hash and the look-up. */
import { hashToken } from '../../common/auth/signing.js'
import type { Clock } from '../../common/clock/clock.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import type { Scope } from '../../common/protocol/endpoint.js'
import type { Principal } from '../../common/rpc/routes.js'
import type { MetadataStore } from '../store/metadata-store.js'

/** A revoked token works for at most this much longer. */
const REMEMBERED_MS = 5_000
const REMEMBERED_MAX = 10_000

export class Authenticator {
  readonly #store: MetadataStore
  readonly #clock: Clock
  readonly #remembered = new Map<string, { readonly principal: Principal; readonly untilMs: number }>()

  constructor(store: MetadataStore, clock: Clock) {
    this.#store = store
    this.#clock = clock
  }

  /** @throws `UNAUTHENTICATED` */
  async authenticate(token: string | undefined): Promise<Principal> {
    if (token === undefined) {
      throw new CairnError(
        'UNAUTHENTICATED',
        'A token is needed. Pass --token or set CAIRN_TOKEN; over HTTP send "Authorization: Bearer TOKEN". `cairn up` prints it.',
      )
    }
    const nowMs = this.#clock.monotonic()
    const known = this.#remembered.get(token)
    if (known && known.untilMs > nowMs) return known.principal
    const stored = await this.#store.findToken({ hash: hashToken(token) })
    if (!stored)
      throw new CairnError(
        'UNAUTHENTICATED',
        'This cluster does not know the token. Use the one that `cairn up` or the master printed; check CAIRN_TOKEN and --master.',
      )
    const principal: Principal = { name: stored.name, scopes: new Set(stored.scopes as Scope[]) }
    if (this.#remembered.size >= REMEMBERED_MAX) this.#remembered.clear()
    this.#remembered.set(token, { principal, untilMs: nowMs + REMEMBERED_MS })
    return principal
  }
}
