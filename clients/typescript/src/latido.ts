import { connection } from './connection.js';
import { LatidoError } from './error.js';
import type { ErrorCode } from './error.js';
import { iterate } from './iterate.js';
import { followPage } from './page.js';
import { BUSY_MS, isNewer } from './rules.js';
import type { Last, LatidoOptions, Listener, Observer, State, Status, Watch } from './types.js';

/** How long a channel that nobody watches is kept, in ms: who leaves and comes back finds its value. */
const LINGER_MS = 1000;

const CONNECTING: Status = { state: 'connecting' };
const OPEN: Status = { state: 'open' };
const IDLE: Status = { state: 'closed' };

interface Watcher {
  observer: Observer<any, any>;
  /** The one that it was told last. */
  status?: Status;
}

/** A channel with its watchers, of whom there may be none for a moment. */
interface Topic {
  watchers: Set<Watcher>;
  value?: any;
  /** The version of the value. */
  v: number;
  /** The server was asked for it on this connection. */
  asked?: boolean | undefined;
  /** The server has confirmed it on this connection, or refused it. */
  open?: boolean | undefined;
  /** A value has come on this connection. */
  fed?: boolean | undefined;
  /** What the server said on this connection about this channel alone: refused, or its value may be old. */
  own?: Status | undefined;
  /** A watcher wanted its history, so each connection asks for it. Not `false`, which would be sent. */
  history?: true | undefined;
  /** After the last watcher. */
  timer?: unknown;
}

/**
 * A connection to one server, shared by all who watch. It is opened by the first `watch` and let go after the last.
 *
 * With `S`, the streams that `latido types --typescript` writes, the name of a channel tells the type of what it sends.
 *
 * What is private is local to the constructor, not `#private`: a minifier shortens it better, by a tenth of the whole.
 */
export class Latido<S = {}> {
  /** The connection's state, and what is known about it. */
  readonly status: Status = IDLE;

  /** Calls `listener` whenever the connection's state changes, until the answer is called. */
  readonly onStatus: (listener: Listener) => () => void;

  /** The newest value of a channel that is being watched, or was a moment ago. */
  readonly last: Last<S>;

  /**
   * With an observer: watches `channel` until the answer is called. Watchers of one channel share one subscription, and a late one gets
   * the last value at once.
   *
   * Without: every value of `channel` from now on, the newest only if the loop is slower than they come. Leaving the loop unsubscribes; a
   * refusal is thrown; `close` ends it.
   */
  readonly watch: Watch<S>;

  /** Drops the connection and makes another at once, with a new token: after a sign-in, or because somebody pressed a button. */
  readonly reconnect: () => void;

  /** Ends everything for good: every watcher is told `closed`, every loop ends. */
  readonly close: () => void;

  /**
   * Does nothing yet: no socket, no timer, no listener, so that it may be made anywhere.
   *
   * @param url the server's socket, `wss://live.example.com/ws`; `http:` and `https:` will do, and so does a path in a page
   * @throws TypeError if that is no URL
   */
  constructor(url: string | URL, { token, clock = globalThis, random = Math.random, WebSocket }: LatidoOptions) {
    const topics = new Map<string, Topic>();
    const listeners = new Set<Listener>();
    /** It does not try any more: closed, or refused for good. */
    let ended: Status | undefined;
    let unfollow: (() => void) | undefined;
    let asking: unknown;

    /** Tells watchers what they have not been told. */
    const tell = (topic: Topic) =>
      each(topic.watchers, (watcher) => {
        const isUp = /open|stale/.test(this.status.state);
        const status = topic.own ?? (topic.open || !isUp ? this.status : CONNECTING);
        const { observer } = watcher;
        if (status === watcher.status) return;
        watcher.status = status;
        observer.status?.(status.state, status);
        if (status.state === 'closed' && status.error) observer.error?.(status.error);
      });

    const set = (status: Status) => {
      if (status === this.status) return;
      (this as { status: Status }).status = status;
      each(listeners, (listener) => listener(status.state, status));
      topics.forEach(tell);
    };

    /** The connection is gone, and what was said on it counts no more. */
    const detach = (status: Status) => {
      clock.clearTimeout(asking);
      topics.forEach((topic) => (topic.asked = topic.open = topic.fed = topic.own = undefined));
      set(status);
    };

    /** Lets go of all but the channels. */
    const rest = (status: Status) => {
      unfollow?.();
      unfollow = undefined;
      drop();
      detach(status);
    };

    /** Asks for every channel that was not asked for, if there is a connection. */
    const ask = () => topics.forEach((topic, channel) => (topic.asked ||= send('subscribe', { channel, history: topic.history })));

    const complain = (code: ErrorCode, message: string | undefined, topic: Topic | undefined) => {
      let state: State = 'closed';
      // The new token was refused on this connection; on another it may do, if it is another user's.
      if (code === 'unauthorized') retry(code);
      else if (code === 'unavailable' && topic?.open) state = 'stale';
      else if (/^(unav|rate)/.test(code)) {
        // It concerns the moment, and perhaps not this channel alone.
        state = 'connecting';
        topics.forEach((topic) => (topic.asked = topic.open !== undefined));
        clock.clearTimeout(asking);
        asking = clock.setTimeout(ask, BUSY_MS * (1 + random()));
      } else if (topic) {
        topic.open = false;
        topic.value = undefined;
      }
      // The same again is no change.
      if (!topic || topic.own?.error?.code === code) return;
      topic.own = { state, error: new LatidoError(code, message) };
      tell(topic);
    };

    const address = new URL(url, globalThis.location?.href);
    address.protocol = address.protocol.replace('http', 'ws');
    const [open, drop, send, renew, proven, hurry, retry, forget] = connection(
      address.href,
      token,
      clock,
      random,
      WebSocket,
      ask,
      ({ type, channel, v, data = {} }) => {
        const topic = topics.get(channel ?? data.channel);
        const isStatus = type === 'status';
        const stale: Status | undefined = isStatus && data.stale ? { ...topic?.own, state: 'stale', since: data.since } : undefined;
        if (isStatus && !channel) set(stale ?? OPEN);
        else if (this.status.state === 'connecting') set(OPEN);
        if (type === 'token_expiring') renew();
        else if (type === 'error') complain(data.code, data.message, topic);
        else if (topic && (channel || type === 'subscribed')) {
          proven();
          if (type === 'history') return each(topic.watchers, ({ observer }) => observer.rows?.(data));
          if (v || isStatus || !topic.open) topic.own = stale;
          topic.open = true;
          tell(topic);
          // Only a value has a version.
          if (!v || !isNewer(v, topic.v, !topic.fed)) return;
          topic.v = v;
          topic.fed = true;
          topic.value = data;
          each(topic.watchers, ({ observer }) => observer.next?.(data));
        }
      },
      (error, final) => {
        if (final) rest((ended = { state: 'closed', error }));
        else detach({ state: 'connecting', error });
      },
    );

    const start = () => {
      if (unfollow || ended || !topics.size) return;
      unfollow = followPage(hurry, () => retry('offline'));
      set(CONNECTING);
      void open();
    };

    this.watch = (<T>(channel: string, observer?: Observer<T, any>) => {
      if (!observer) return iterate<T>((watcher) => this.watch<T>(channel as never, watcher));
      const watcher: Watcher = { observer };
      const topic: Topic = topics.get(channel) ?? { watchers: new Set(), v: 0 };
      topics.set(channel, topic);
      clock.clearTimeout(topic.timer);
      topic.watchers.add(watcher);
      // Who comes late asks anew: the server sends it once for each request.
      if (observer.history) topic.asked = !(topic.history = true);
      ask();
      start();
      queueMicrotask(() => {
        tell(topic);
        if (topic.value && topic.watchers.has(watcher)) observer.next?.(topic.value);
      });
      return () => {
        if (!topic.watchers.delete(watcher) || topic.watchers.size) return;
        topic.timer = clock.setTimeout(() => {
          if (topic.asked && topic.open !== false) send('unsubscribe', { channel });
          topics.delete(channel);
          if (!topics.size) rest(ended ?? IDLE);
        }, LINGER_MS);
      };
    }) as Watch<S>;

    this.last = (channel: string) => topics.get(channel)?.value;

    this.onStatus = (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    };

    this.reconnect = () => {
      if (ended === IDLE) return;
      ended = undefined;
      forget();
      rest(topics.size ? CONNECTING : IDLE);
      start();
    };

    this.close = () => {
      rest((ended = IDLE));
      topics.clear();
    };
  }
}

/**
 * For each that is still there when its turn comes: what is called may add and remove. Asynchronous in form alone: a mistake of the
 * application's becomes a rejection that nobody handled, is reported as one, and stops nothing here.
 */
function each<T>(all: Set<T>, call: (item: T) => void): void {
  [...all].forEach(async (item) => all.has(item) && call(item));
}
