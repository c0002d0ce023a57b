/**
 * Why there is no value, or no connection. A closed list.
 *
 * About one channel, said by the server: `forbidden`, `unknown_channel`, `invalid_key`, `too_many_channels`; and for the moment,
 * `unavailable` (it cannot be read now) and `rate_limited`.
 *
 * About the connection, and it comes back by itself: `lost` (no server, a refused upgrade or a broken network: a browser does not tell
 * them apart), `offline`, `timeout` (it did not open in time), `silent`, `restarting`, `overloaded`, `too_slow`, `too_many_messages`,
 * `token` (the token callback failed), `unauthorized` (the token has expired; a callback is asked for another).
 *
 * About the connection, and it does not: `forbidden`, `too_big`, `protocol`, `no_websocket` (this runtime has none: pass one as an
 * option), `unauthorized` and `token` where the token is a string, or where the callback itself threw `unauthorized`.
 */
export type ErrorCode =
  | 'forbidden'
  | 'unknown_channel'
  | 'invalid_key'
  | 'too_many_channels'
  | 'unavailable'
  | 'rate_limited'
  | 'lost'
  | 'offline'
  | 'timeout'
  | 'silent'
  | 'restarting'
  | 'overloaded'
  | 'too_slow'
  | 'too_many_messages'
  | 'token'
  | 'unauthorized'
  | 'too_big'
  | 'protocol'
  | 'no_websocket';

/** The one class of error: `code` says which. It never holds a token. */
export class LatidoError extends Error {
  override readonly name = 'LatidoError';

  /**
   * @param code from the closed list; a newer server may know others
   * @param message the server's sentence, if it gave one
   * @param cause what the token callback or the runtime threw
   */
  constructor(
    readonly code: ErrorCode,
    message: string = code,
    cause?: unknown,
  ) {
    super(message, { cause });
  }
}
