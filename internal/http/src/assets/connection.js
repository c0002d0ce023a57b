// @ts-check
/** The connection to the server: opens, subscribes, detects silence, reconnects, renews its token. Independent of the page. */

/** @typedef {{negocio_id: string, citas_hoy: number, total_citas: number, citas_completadas: number, citas_canceladas: number, timestamp: number}} Stats */
/** @typedef {{hoy: string, consulta: string, historia: string}} Services today, and the queries of the demo's stream of services */
/** @typedef {{token: string, negocios: {id: string, nombre: string}[], servicios?: Services, channels?: string[]}} Session without `channels`, the channels of the negocios are used */
/** @typedef {'connecting'|'live'|'stale'|'reconnecting'|'offline'|'refused'} State */
/**
 * @typedef {object} Options
 * @property {() => Promise<Session>} session called before every attempt, so that an expired token is never tried twice
 * @property {boolean} renewable whether `session` can give a new token
 * @property {boolean} [verifiesToken] whether `session` itself detects an invalid token and throws {@link RefusedError}
 * @property {(state: State, detail: {since?: number, reason?: string}) => void} onState
 * @property {(channel: string, data: any) => void} onStats
 * @property {(channel: string | undefined, code: string, message: string) => void} onError `message` is the server's, in English
 * @property {(channel: string) => boolean} [wantsHistory] whether the history of a channel is asked for
 * @property {(channel: string, rows: any[] | null) => void} [onHistory] called with `null` if the history cannot be read
 */

/** The upper bounds of the first and of every later delay, in ms; the delay is random between zero and the bound («full jitter»). */
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 20_000;
/** The shortest delay after «overloaded» and «too many messages», in ms. */
const BUSY_DELAY_MS = 5_000;
/** The ping interval, in ms; the pong must arrive before the next ping. Browsers hide the protocol's own pings. */
const PING_MS = 15_000;
/** The delay before a busy server is asked again for one channel, in ms. */
const RESUBSCRIBE_DELAY_MS = 5_000;
/** The errors that refuse one channel for good. */
const REFUSALS = ['forbidden', 'unknown_channel', 'invalid_key'];

const CLOSE_CODE = { messageTooBig: 1009, overloaded: 1013, unauthorized: 4401, forbidden: 4403, tooManyMessages: 4429 };

/** The error that `session` throws if another attempt would fail too. */
export class RefusedError extends Error {
  /** @param {string} reason */
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

export class Connection {
  /** @type {Options} */ #options;
  /** @type {WebSocket | undefined} */ #socket;
  /** @type {string[]} */ #channels = [];
  /** The newest version received of each channel; older frames are dropped. @type {Map<string, number>} */ #versions = new Map();
  /** The number of the attempt; results of older attempts are ignored. */ #attempt = 0;
  #failures = 0;
  #hasOpened = false;
  /** Whether this connection has reported a state yet. */ #hasReportedState = false;
  #hasBeenLive = false;
  /** Whether the page has called `start` and not `stop`. */ #isStarted = false;
  #retryTimer = 0;
  #pingTimer = 0;
  /** @type {Set<number>} */ #resubscribeTimers = new Set();
  #isAwaitingPong = false;

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
    addEventListener('online', () => this.#reconnectNow());
    addEventListener('offline', () => { if (this.#isStarted && this.#hasNoNetwork()) this.#reportOffline(); });
    addEventListener('pagehide', () => this.#disconnect());
    addEventListener('pageshow', (event) => { if (event.persisted) this.#reconnectNow(); });
    document.addEventListener('visibilitychange', () => { if (!document.hidden) this.#reconnectNow(); });
  }

  start() {
    this.#isStarted = true;
    this.#startAttempt();
  }

  stop() {
    this.#isStarted = false;
    this.#disconnect();
  }

  /** Replaces one subscribed channel by another. @param {string} before @param {string} after */
  replaceChannel(before, after) {
    if (before === after) return;
    this.#channels = this.#channels.map((channel) => (channel === before ? after : channel));
    this.#versions.delete(before);
    this.#send({ type: 'unsubscribe', data: { channel: before } });
    this.#subscribe(after);
  }

  /** Asks for the history of a subscribed channel again. @param {string} channel */
  requestHistory(channel) {
    if (this.#channels.includes(channel)) this.#subscribe(channel);
  }

  /** @param {string} channel */
  #subscribe(channel) {
    const history = this.#options.wantsHistory?.(channel) || undefined;
    this.#send({ type: 'subscribe', data: { channel, history } });
  }

  async #startAttempt() {
    this.#disconnect();
    const attempt = ++this.#attempt;
    this.#options.onState(this.#hasBeenLive ? 'reconnecting' : 'connecting', {});
    try {
      const session = await this.#options.session();
      if (attempt !== this.#attempt || !this.#isStarted) return;
      this.#channels = session.channels ?? session.negocios.map((negocio) => `estadisticas:${negocio.id}`);
      this.#openSocket(session.token);
    } catch (error) {
      if (attempt !== this.#attempt || !this.#isStarted) return;
      // The constructor rejected the subprotocol: such a text can't be a token.
      if (error instanceof RefusedError) this.#giveUp(error.reason);
      else if (error instanceof DOMException && error.name === 'SyntaxError') this.#giveUp('token');
      else this.#retryLater(0);
    }
  }

  /** @param {string} token sent as a subprotocol, so that it is in no URL and no log */
  #openSocket(token) {
    const url = new URL('/ws', location.href);
    url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(url, ['bearer', token]);
    this.#socket = socket;
    this.#hasOpened = false;
    this.#hasReportedState = false;
    this.#versions.clear();
    socket.onopen = () => {
      this.#hasOpened = true;
      for (const channel of this.#channels) this.#subscribe(channel);
      this.#isAwaitingPong = false;
      this.#pingTimer = setInterval(() => this.#ping(), PING_MS);
    };
    socket.onmessage = (event) => {
      this.#isAwaitingPong = false;
      this.#onFrame(String(event.data));
    };
    socket.onclose = (event) => this.#onClose(event.code);
  }

  /** @param {object} message */
  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #ping() {
    if (this.#isAwaitingPong) {
      this.#startAttempt();
      return;
    }
    this.#isAwaitingPong = true;
    this.#send({ type: 'ping' });
  }

  /** @param {string} text */
  #onFrame(text) {
    /** @type {any} */ let frame;
    try { frame = JSON.parse(text); } catch { return; }
    const data = frame?.data ?? {};
    switch (frame?.type) {
      case 'subscribed':
        // Only received data, not an open socket, proves that the server has recovered.
        this.#failures = 0;
        if (!this.#hasReportedState) this.#reportLive();
        break;
      case 'server':
      case 'stats': this.#onData(frame.channel ?? `estadisticas:${data.negocio_id}`, frame.v ?? 0, data); break;
      case 'history':
        this.#options.onHistory?.(frame.channel, frame.data);
        if (frame.error?.code === 'history_unavailable') this.#resubscribeLater(frame.channel);
        break;
      case 'status':
        // Of one channel, whose card shows the error already.
        if (frame.channel) break;
        if (data.stale) this.#reportStale(data.since);
        else this.#reportLive();
        break;
      case 'token_expiring': void this.#renewToken(); break;
      case 'error': this.#onServerError(data); break;
      // The event of another stream.
      default: if (frame?.channel && frame.v) this.#onData(frame.channel, frame.v, data);
    }
  }

  /** @param {string} channel @param {number} version zero if the frame has none @param {any} data */
  #onData(channel, version, data) {
    if (version && version <= (this.#versions.get(channel) ?? 0)) return;
    this.#versions.set(channel, version);
    this.#options.onStats(channel, data);
  }

  #reportLive() {
    this.#hasReportedState = this.#hasBeenLive = true;
    this.#options.onState('live', {});
  }

  /** @param {number} since Unix seconds */
  #reportStale(since) {
    this.#hasReportedState = true;
    this.#options.onState('stale', { since });
  }

  async #renewToken() {
    if (!this.#options.renewable) return; // the server will close with 4401
    const attempt = this.#attempt;
    try {
      const { token } = await this.#options.session();
      if (attempt === this.#attempt) this.#send({ type: 'auth', data: { token } });
    } catch { /* the token expires, and the next attempt asks again */ }
  }

  /** @param {{code?: string, channel?: string, message?: string}} data */
  #onServerError({ code = '', channel, message = '' }) {
    if (code === 'unauthorized' && this.#options.renewable) this.#retryLater(0);
    if (code === 'unavailable' && channel) this.#resubscribeLater(channel);
    // The connection works; only this channel is refused.
    if (REFUSALS.includes(code) && channel && !this.#hasReportedState) this.#reportLive();
    this.#options.onError(channel, code, message);
  }

  /** @param {string} channel */
  #resubscribeLater(channel) {
    const timer = setTimeout(() => {
      this.#resubscribeTimers.delete(timer);
      // It may have been replaced meanwhile.
      if (this.#channels.includes(channel)) this.#subscribe(channel);
    }, RESUBSCRIBE_DELAY_MS);
    this.#resubscribeTimers.add(timer);
  }

  /** @param {number} code */
  async #onClose(code) {
    this.#disconnect();
    const attempt = this.#attempt;
    if (code === CLOSE_CODE.forbidden || code === CLOSE_CODE.messageTooBig) return this.#giveUp('forbidden');
    const isRefused = code === CLOSE_CODE.unauthorized || (!this.#hasOpened && (await this.#serverIsReady()));
    if (attempt !== this.#attempt) return;
    if (isRefused && !this.#options.renewable && !this.#options.verifiesToken) return this.#giveUp('token');
    if (this.#hasNoNetwork()) return this.#reportOffline();
    this.#retryLater(code === CLOSE_CODE.overloaded || code === CLOSE_CODE.tooManyMessages ? BUSY_DELAY_MS : 0);
  }

  /** Returns whether the browser has no network. A server on this machine needs none. */
  #hasNoNetwork() {
    return !navigator.onLine && !['localhost', '127.0.0.1', '[::1]'].includes(location.hostname);
  }

  /** Distinguishes a rejected upgrade from a server that is down or not ready, which look the same to a script, by a request. */
  async #serverIsReady() {
    try { return (await fetch('/ready', { cache: 'no-store' })).ok; } catch { return false; }
  }

  /** @param {number} minDelayMs */
  #retryLater(minDelayMs) {
    this.#disconnect();
    this.#options.onState('reconnecting', {});
    const maxDelay = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#failures++);
    this.#retryTimer = setTimeout(() => {
      // A hidden page reconnects only when it becomes visible.
      if (this.#isStarted && !document.hidden) this.#startAttempt();
    }, minDelayMs + Math.random() * maxDelay);
  }

  /** Retries at once after the network or the page has come back, or checks that the socket still works. */
  #reconnectNow() {
    if (!this.#isStarted) return;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#send({ type: 'ping' });
    else if (this.#socket?.readyState !== WebSocket.CONNECTING) this.#startAttempt();
  }

  #reportOffline() {
    this.#disconnect();
    this.#options.onState('offline', {});
  }

  /** @param {string} reason */
  #giveUp(reason) {
    this.stop();
    this.#options.onState('refused', { reason });
  }

  /** Closes the socket and clears every timer without reporting a state. */
  #disconnect() {
    this.#attempt++;
    clearTimeout(this.#retryTimer);
    clearInterval(this.#pingTimer);
    for (const timer of this.#resubscribeTimers) clearTimeout(timer);
    this.#resubscribeTimers.clear();
    const socket = this.#socket;
    this.#socket = undefined;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }
}
