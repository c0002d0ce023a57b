import { LatidoError } from './error.js';
import type { ErrorCode } from './error.js';
import { BUSY_MS, isFinal, reasonOf, retryDelayMs } from './rules.js';
import type { Clock, Token, TokenRequest, WebSocketConstructor, WebSocketLike } from './types.js';

/** How long token and connection may take together, in ms. */
const OPEN_MS = 10_000;
/** After so long a silence the server is asked whether it is there, in ms. */
const PING_MS = 15_000;
/** How long it may take to answer, in ms. */
const ANSWER_MS = 5000;

/** One message of the server's. */
export interface Frame {
  type?: string;
  channel?: string;
  v?: number;
  data?: any;
}

/**
 * One socket at a time: opens it, notices when it dies, comes back, renews its token. Knows nothing of channels.
 *
 * @param onOpen the socket is open, and nothing has been said on it
 * @param onFrame a message came
 * @param onLost there is no connection any more; `final`: nor will there be, until `open` is called
 */
export function connection(
  url: string,
  source: Token,
  clock: Clock,
  random: () => number,
  chosen: WebSocketConstructor | undefined,
  onOpen: () => void,
  onFrame: (frame: Frame) => void,
  onLost: (error: LatidoError, final: boolean) => void,
) {
  let socket: WebSocketLike | undefined;
  /** Of the present attempt, until its connection has ended: what an older one still awaits is ignored. */
  let attempt: AbortController | undefined;
  let isOpen: boolean | undefined;
  /** Since the server last did what it is for. */
  let failures = 0;
  let token: string | undefined;
  let reason: TokenRequest['reason'] = 'connect';
  let askedAt = 0;
  /** The one thing that is waited for: the next attempt, the end of this one, the next ping, the answer to it. */
  let timer: any;
  let renewal: any;
  const isFixed = typeof source === 'string';

  const now = () => clock.performance.now();

  const after = (ms: number, call: () => void) => {
    clock.clearTimeout(timer);
    timer = clock.setTimeout(call, ms);
  };

  /** Lets go of the socket and of every timer, silently. */
  const drop = () => {
    const old = socket;
    clock.clearTimeout(timer);
    clock.clearTimeout(renewal);
    attempt?.abort();
    attempt = socket = isOpen = undefined;
    if (!old) return;
    // `onerror` stays: `ws` throws an error that nobody takes.
    old.onopen = old.onmessage = old.onclose = null;
    old.close();
  };

  const fail = (code: ErrorCode, cause?: unknown) => {
    drop();
    after(retryDelayMs(code, failures++, random()), open);
    onLost(new LatidoError(code, code, cause), false);
  };

  const stop = (error: LatidoError) => {
    drop();
    onLost(error, true);
  };

  const ask = async (): Promise<string> => {
    askedAt = now();
    return isFixed ? source : source({ reason, signal: attempt!.signal });
  };

  /** Sends, and says whether there was a connection to send on. */
  const send = (type: string, data?: object) => {
    if (isOpen) socket!.send(JSON.stringify({ type, data }));
    return isOpen;
  };

  /** Browsers hide the protocol's own pings, so the dialect has one. */
  const ping = () => {
    after(ANSWER_MS, () => fail('silent'));
    send('ping');
  };

  const heard = () => after(PING_MS, ping);

  const connect = (made: WebSocketLike) => {
    socket = made;
    made.onopen = () => {
      isOpen = true;
      heard();
      onOpen();
    };
    made.onmessage = ({ data }) => {
      heard();
      let frame: Frame | undefined;
      try {
        frame = JSON.parse(data);
      } catch {
        // Not of this dialect: a proxy's, perhaps.
      }
      if (frame) onFrame(frame);
    };
    made.onerror = () => {};
    made.onclose = ({ code }) => ended(reasonOf(code));
  };

  const ended = (code: ErrorCode) => {
    const isRefused = code === 'unauthorized';
    // A refused upgrade looks like a dead server. A token that was asked for just now is not asked for again with every attempt.
    if (isRefused || (!isOpen && now() - askedAt >= BUSY_MS)) {
      token = undefined;
      reason = 'refused';
    }
    if (isFinal(code) || (isRefused && isFixed)) stop(new LatidoError(code));
    else fail(code);
  };

  /** Makes an attempt now, in the place of whatever was going on. */
  const open = async () => {
    drop();
    const { signal } = (attempt = new AbortController());
    after(OPEN_MS, () => fail('timeout'));
    try {
      const Socket = chosen ?? (globalThis.WebSocket as WebSocketConstructor | undefined);
      if (!Socket) throw new LatidoError('no_websocket');
      const answer = await (token ?? ask());
      if (signal.aborted) return;
      token = answer;
      connect(new Socket(url, ['bearer', answer]));
    } catch (cause) {
      if (signal.aborted) return;
      token = undefined;
      if (cause instanceof LatidoError) stop(cause);
      // The constructor complains of what can't be a token, and a string won't change.
      else if (isFixed) stop(new LatidoError('token', undefined, cause));
      else fail('token', cause);
    }
  };

  const reauthenticate = async () => {
    const { signal } = attempt!;
    reason = 'expiring';
    try {
      const answer = await ask();
      if (signal.aborted) return;
      token = answer;
      send('auth', { token });
    } catch {
      // Once more while there is time; else it expires, and the next attempt asks.
      if (!signal.aborted) renew();
    }
  };

  /** The token of this connection is about to end. */
  const renew = () => {
    if (isFixed) return;
    clock.clearTimeout(renewal);
    // A token that never lives longer than the server's notice is renewed over and over, but not at once. A delay below zero is none.
    renewal = clock.setTimeout(reauthenticate, askedAt + BUSY_MS - now());
  };

  /** The server does what it is for, which alone proves that it is well again. */
  const proven = () => {
    failures = 0;
  };

  /** Something changed for the better: doesn't wait any longer, or finds out whether the socket still lives. */
  const hurry = () => {
    if (isOpen) ping();
    else if (!attempt) void open();
  };

  /** Gives the connection up for another attempt. */
  const retry = (code: ErrorCode) => attempt && fail(code);

  /** The next attempt asks for a token, and is the first. */
  const forget = () => {
    token = undefined;
    proven();
  };

  // A tuple: a minifier shortens its names, and not those of properties.
  return [open, drop, send, renew, proven, hurry, retry, forget] as const;
}
