// @ts-check
/** The connection: opens, subscribes, notices silence, comes back, renews its token. Knows nothing of the page. */

/** @typedef {{negocio_id: string, citas_hoy: number, total_citas: number, citas_completadas: number, citas_canceladas: number, timestamp: number}} Stats */
/** @typedef {{token: string, negocios: {id: string, nombre: string}[], channels?: string[]}} Session without `channels`, those of the negocios */
/** @typedef {'connecting'|'live'|'stale'|'reconnecting'|'offline'|'refused'} State */
/**
 * @typedef {object} Options
 * @property {() => Promise<Session>} session asked before every attempt, so a token that has expired is never tried twice
 * @property {boolean} renewable whether `session` can give a new token
 * @property {boolean} [proves] whether `session` finds out by itself that a token is no good, and throws {@link Refused}
 * @property {(state: State, detail: {since?: number, why?: string}) => void} onState
 * @property {(channel: string, data: any) => void} onStats
 * @property {(channel: string | undefined, code: string) => void} onError
 */

/** Longest first wait, and longest wait ever, in ms; the wait itself is drawn from zero to there («full jitter»). */
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 20_000;
/** At least this long after «overloaded» and «too many messages». */
const BUSY_WAIT_MS = 5_000;
/** A ping each, and the answer must have come by the next one: browsers hide the protocol's own pings. */
const PING_MS = 15_000;
/** Before a busy server is asked again for one channel. */
const ASK_AGAIN_MS = 5_000;

const ENDED = { tooBig: 1009, overloaded: 1013, token: 4401, forbidden: 4403, tooMany: 4429 };

/** What `session` throws where trying again would change nothing. */
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
  /** Newest version seen of each channel; an older frame is dropped. @type {Map<string, number>} */ #versions = new Map();
  /** Counts attempts, so that what an older one still awaits is ignored. */ #attempt = 0;
  #failures = 0;
  #opened = false;
  /** Whether this connection has told a state of its own yet. */ #told = false;
  #everLive = false;
  /** Whether it should be connected at all. */ #wanted = false;
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

  /** Watches another channel in the place of one. @param {string} before @param {string} after */
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
      // The constructor's own complaint: such a text can't be a token.
      if (error instanceof Refused) this.#refuse(error.why);
      else if (error instanceof DOMException && error.name === 'SyntaxError') this.#refuse('token');
      else this.#retryLater(0);
    }
  }

  /** @param {string} token rides as a subprotocol: there it is in no address and no log */
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
        // Traffic, not merely an open socket, is what proves that the server is well again.
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
    if (!this.#options.renewable) return; // the close with 4401 will say it
    const attempt = this.#attempt;
    try {
      const { token } = await this.#options.session();
      if (attempt === this.#attempt) this.#send({ type: 'auth', data: { token } });
    } catch { /* then it expires, and the next attempt asks again */ }
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

  /** Whether the browser has no network; a server on this machine needs none. */
  #cutOff() {
    return !navigator.onLine && !['localhost', '127.0.0.1', '[::1]'].includes(location.hostname);
  }

  /** A refused upgrade looks like a dead server, or one that is not ready yet, to a script; asking the server tells them apart. */
  async #serverIsReady() {
    try { return (await fetch('/ready', { cache: 'no-store' })).ok; } catch { return false; }
  }

  /** @param {number} atLeastMs */
  #retryLater(atLeastMs) {
    this.#drop();
    this.#options.onState('reconnecting', {});
    const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#failures++);
    this.#retryTimer = setTimeout(() => {
      // A page that nobody sees waits until somebody does.
      if (this.#wanted && !document.hidden) this.#open();
    }, atLeastMs + Math.random() * longest);
  }

  /** Something changed for the better: try now, or find out whether the socket still lives. */
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

  /** Lets go of the socket and of every timer, silently. */
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
