// @ts-check
/** The connection to the server: opens, subscribes, detects silence, reconnects, renews its token. Independent of the page. */

/** @typedef {{negocio_id: string, citas_hoy: number, total_citas: number, citas_completadas: number, citas_canceladas: number, timestamp: number}} Stats */
/** @typedef {{token: string, negocios: {id: string, nombre: string}[], channels?: string[]}} Session without `channels`, the channels of the negocios are used */
/** @typedef {'connecting'|'live'|'stale'|'reconnecting'|'offline'|'refused'} State */
/**
 * @typedef {object} Options
 * @property {() => Promise<Session>} session called before every attempt, so that an expired token is never tried twice
 * @property {boolean} renewable whether `session` can give a new token
 * @property {boolean} [proves] whether `session` itself detects an invalid token and throws {@link Refused}
 * @property {(state: State, detail: {since?: number, why?: string}) => void} onState
 * @property {(channel: string, data: any) => void} onStats
 * @property {(channel: string | undefined, code: string) => void} onError
 */

/** The upper bounds of the first and of every later delay, in ms; the delay is random between zero and the bound («full jitter»). */
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 20_000;
/** The shortest delay after «overloaded» and «too many messages», in ms. */
const BUSY_WAIT_MS = 5_000;
/** The ping interval, in ms; the pong must arrive before the next ping. Browsers hide the protocol's own pings. */
const PING_MS = 15_000;
/** The delay before a busy server is asked again for one channel, in ms. */
const ASK_AGAIN_MS = 5_000;

const ENDED = { tooBig: 1009, overloaded: 1013, token: 4401, forbidden: 4403, tooMany: 4429 };

/** The error that `session` throws if another attempt would fail too. */
export class Refused extends Error {
  /** @param {string} why */
  constructor(why) {
    super(why);
    this.why = why;
  }
}

export class Link {
  /** @type {Options} */ #options;
  /** @type {WebSocket | undefined} */ #socket;
  /** @type {string[]} */ #channels = [];
  /** The newest version received of each channel; older frames are dropped. @type {Map<string, number>} */ #versions = new Map();
  /** The number of the attempt; results of older attempts are ignored. */ #attempt = 0;
  #failures = 0;
  #opened = false;
  /** Whether this connection has reported a state yet. */ #told = false;
  #everLive = false;
  /** Whether the page wants a connection. */ #wanted = false;
  #retryTimer = 0;
  #pingTimer = 0;
  /** @type {Set<number>} */ #askTimers = new Set();
  #unanswered = false;

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
    addEventListener('online', () => this.#hurry());
    addEventListener('offline', () => { if (this.#wanted && this.#cutOff()) this.#offline(); });
    addEventListener('pagehide', () => this.#drop());
    addEventListener('pageshow', (event) => { if (event.persisted) this.#hurry(); });
    document.addEventListener('visibilitychange', () => { if (!document.hidden) this.#hurry(); });
  }

  start() {
    this.#wanted = true;
    this.#open();
  }

  stop() {
    this.#wanted = false;
    this.#drop();
  }

  /** Replaces one subscribed channel by another. @param {string} before @param {string} after */
  exchange(before, after) {
    if (before === after) return;
    this.#channels = this.#channels.map((channel) => (channel === before ? after : channel));
    this.#versions.delete(before);
    this.#send({ type: 'unsubscribe', data: { channel: before } });
    this.#send({ type: 'subscribe', data: { channel: after } });
  }

  async #open() {
    this.#drop();
    const attempt = ++this.#attempt;
    this.#options.onState(this.#everLive ? 'reconnecting' : 'connecting', {});
    try {
      const session = await this.#options.session();
      if (attempt !== this.#attempt || !this.#wanted) return;
      this.#channels = session.channels ?? session.negocios.map((negocio) => `estadisticas:${negocio.id}`);
      this.#connect(session.token);
    } catch (error) {
      if (attempt !== this.#attempt || !this.#wanted) return;
      // The constructor rejected the subprotocol: such a text can't be a token.
      if (error instanceof Refused) this.#refuse(error.why);
      else if (error instanceof DOMException && error.name === 'SyntaxError') this.#refuse('token');
      else this.#retryLater(0);
    }
  }

  /** @param {string} token sent as a subprotocol, so that it is in no URL and no log */
  #connect(token) {
    const url = new URL('/ws', location.href);
    url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(url, ['bearer', token]);
    this.#socket = socket;
    this.#opened = false;
    this.#told = false;
    this.#versions.clear();
    socket.onopen = () => {
      this.#opened = true;
      for (const channel of this.#channels) this.#send({ type: 'subscribe', data: { channel } });
      this.#unanswered = false;
      this.#pingTimer = setInterval(() => this.#ping(), PING_MS);
    };
    socket.onmessage = (event) => {
      this.#unanswered = false;
      this.#receive(String(event.data));
    };
    socket.onclose = (event) => this.#ended(event.code);
  }

  /** @param {object} message */
  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #ping() {
    if (this.#unanswered) {
      this.#open();
      return;
    }
    this.#unanswered = true;
    this.#send({ type: 'ping' });
  }

  /** @param {string} text */
  #receive(text) {
    /** @type {any} */ let frame;
    try { frame = JSON.parse(text); } catch { return; }
    const data = frame?.data ?? {};
    switch (frame?.type) {
      case 'subscribed':
        // Only received data, not an open socket, proves that the server has recovered.
        this.#failures = 0;
        if (!this.#told) this.#live();
        break;
      case 'server':
      case 'stats': {
        const channel = frame.channel ?? `estadisticas:${data.negocio_id}`;
        const version = frame.v ?? 0;
        if (version && version <= (this.#versions.get(channel) ?? 0)) break;
        this.#versions.set(channel, version);
        this.#options.onStats(channel, data);
        break;
      }
      case 'status':
        if (data.stale) this.#stale(data.since);
        else this.#live();
        break;
      case 'token_expiring': void this.#renew(); break;
      case 'error': this.#complain(data); break;
    }
  }

  #live() {
    this.#told = this.#everLive = true;
    this.#options.onState('live', {});
  }

  /** @param {number} since Unix seconds */
  #stale(since) {
    this.#told = true;
    this.#options.onState('stale', { since });
  }

  async #renew() {
    if (!this.#options.renewable) return; // the server will close with 4401
    const attempt = this.#attempt;
    try {
      const { token } = await this.#options.session();
      if (attempt === this.#attempt) this.#send({ type: 'auth', data: { token } });
    } catch { /* the token expires, and the next attempt asks again */ }
  }

  /** @param {{code?: string, channel?: string}} data */
  #complain({ code = '', channel }) {
    if (code === 'unauthorized' && this.#options.renewable) this.#retryLater(0);
    if (code === 'unavailable' && channel) {
      const timer = setTimeout(() => {
        this.#askTimers.delete(timer);
        this.#send({ type: 'subscribe', data: { channel } });
      }, ASK_AGAIN_MS);
      this.#askTimers.add(timer);
    }
    this.#options.onError(channel, code);
  }

  /** @param {number} code */
  async #ended(code) {
    this.#drop();
    const attempt = this.#attempt;
    if (code === ENDED.forbidden || code === ENDED.tooBig) return this.#refuse('forbidden');
    const refused = code === ENDED.token || (!this.#opened && (await this.#serverIsReady()));
    if (attempt !== this.#attempt) return;
    if (refused && !this.#options.renewable && !this.#options.proves) return this.#refuse('token');
    if (this.#cutOff()) return this.#offline();
    this.#retryLater(code === ENDED.overloaded || code === ENDED.tooMany ? BUSY_WAIT_MS : 0);
  }

  /** Returns whether the browser has no network. A server on this machine needs none. */
  #cutOff() {
    return !navigator.onLine && !['localhost', '127.0.0.1', '[::1]'].includes(location.hostname);
  }

  /** Distinguishes a rejected upgrade from a server that is down or not ready, which look the same to a script, by a request. */
  async #serverIsReady() {
    try { return (await fetch('/ready', { cache: 'no-store' })).ok; } catch { return false; }
  }

  /** @param {number} atLeastMs */
  #retryLater(atLeastMs) {
    this.#drop();
    this.#options.onState('reconnecting', {});
    const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#failures++);
    this.#retryTimer = setTimeout(() => {
      // A hidden page reconnects only when it becomes visible.
      if (this.#wanted && !document.hidden) this.#open();
    }, atLeastMs + Math.random() * longest);
  }

  /** Retries at once after the network or the page has come back, or checks that the socket still works. */
  #hurry() {
    if (!this.#wanted) return;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#send({ type: 'ping' });
    else if (this.#socket?.readyState !== WebSocket.CONNECTING) this.#open();
  }

  #offline() {
    this.#drop();
    this.#options.onState('offline', {});
  }

  /** @param {string} why */
  #refuse(why) {
    this.stop();
    this.#options.onState('refused', { why });
  }

  /** Closes the socket and clears every timer without reporting a state. */
  #drop() {
    this.#attempt++;
    clearTimeout(this.#retryTimer);
    clearInterval(this.#pingTimer);
    for (const timer of this.#askTimers) clearTimeout(timer);
    this.#askTimers.clear();
    const socket = this.#socket;
    this.#socket = undefined;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }
}
