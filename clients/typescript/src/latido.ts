import { connection } from './connection.js';
import type { Connection, Frame, Settings } from './connection.js';
import { LatidoError } from './error.js';
import type { ErrorCode } from './error.js';
import { iterate } from './iterate.js';
import { followPage } from './page.js';
import { BUSY_MS, isNewer } from './rules.js';
import type { LatidoOptions, Observer, State, Status } from './types.js';

/** How long a channel that nobody watches is kept, in ms: who leaves and comes back finds its value. */
const LINGER_MS = 1000;

const CONNECTING: Status = { state: 'connecting' };
const OPEN: Status = { state: 'open' };
const IDLE: Status = { state: 'closed' };

type Listener = (state: State, status: Status) => void;

interface Watcher {
  observer: Observer<any>;
  /** What it was told last. */
  told?: Status;
}

/** A channel with its watchers, of whom there may be none for a moment. */
interface Topic {
  watchers: Set<Watcher>;
  value?: unknown;
  version: number;
  /** The server was asked for it on this connection. */
  asked?: boolean;
  /** The server has confirmed it on this connection. */
  joined?: boolean;
  /** A value has come on this connection. */
  fed?: boolean;
  /** The server has refused it on this connection. */
  refused?: Status | undefined;
  linger?: unknown;
}

/** A connection to one server, shared by all who watch. It is opened by the first `watch` and let go after the last. */
export class Latido {
  readonly #settings: Settings;
  readonly #connection: Connection;
  readonly #topics = new Map<string, Topic>();
  readonly #listeners = new Set<Listener>();
  #status = IDLE;
  /** It does not try any more: closed, or refused for good. */
  #ended: Status | undefined;
  #unfollow: (() => void) | undefined;
  #asking: unknown;

  /**
   * Does nothing yet: no socket, no timer, no listener, so that it may be made anywhere.
   *
   * @param url the server's socket, `wss://live.example.com/ws`; `http:` and `https:` will do, and so does a path in a page
   * @throws TypeError if that is no URL
   */
  constructor(url: string | URL, options: LatidoOptions) {
    const address = new URL(url, globalThis.location?.href);
    address.protocol = address.protocol.replace('http', 'ws');
    this.#settings = { clock: globalThis, random: Math.random, ...options };
    this.#connection = connection(
      address.href,
      this.#settings,
      () => this.#ask(),
      (frame) => this.#received(frame),
      (error, final) => {
        const status: Status = { state: final ? 'closed' : 'connecting', error };
        if (final) this.#rest((this.#ended = status));
        else this.#detach(status);
      },
    );
  }

  /** The connection's state, and what is known about it. */
  get status(): Status {
    return this.#status;
  }

  /** Calls `listener` whenever the connection's state changes, until the answer is called. */
  onStatus(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** The newest value of a channel that is being watched, or was a moment ago. */
  last<T>(channel: string): T | undefined {
    return this.#topics.get(channel)?.value as T | undefined;
  }

  /** Every value of `channel` from now on, the newest only if the loop is slower than they come. Leaving the loop unsubscribes; a refusal is thrown; `close` ends it. */
  watch<T>(channel: string): AsyncIterableIterator<T>;
  /** Watches `channel` until the answer is called. Watchers of one channel share one subscription, and a late one gets the last value at once. */
  watch<T>(channel: string, observer: Observer<T>): () => void;
  watch<T>(channel: string, observer?: Observer<T>): AsyncIterableIterator<T> | (() => void) {
    if (!observer) return iterate<T>((watcher) => this.watch(channel, watcher));
    const { clock } = this.#settings;
    const watcher: Watcher = { observer };
    const topic = this.#topics.get(channel) ?? { watchers: new Set(), version: 0 };
    this.#topics.set(channel, topic);
    clock.clearTimeout(topic.linger);
    topic.watchers.add(watcher);
    this.#ask();
    this.#start();
    queueMicrotask(() => {
      this.#tell(topic);
      if (topic.value !== undefined) each([watcher], topic.watchers, () => observer.next?.(topic.value as T));
    });
    return () => {
      if (topic.watchers.delete(watcher) && !topic.watchers.size) topic.linger = clock.setTimeout(() => this.#leave(channel), LINGER_MS);
    };
  }

  /** Drops the connection and makes another at once, with a new token: after a sign-in, or because somebody pressed a button. */
  reconnect(): void {
    if (this.#ended === IDLE) return;
    this.#ended = undefined;
    this.#connection.forget();
    this.#rest(this.#topics.size ? CONNECTING : IDLE);
    this.#start();
  }

  /** Ends everything for good: every watcher is told `closed`, every loop ends. */
  close(): void {
    this.#rest((this.#ended = IDLE));
    this.#topics.clear();
  }

  #leave(channel: string): void {
    const topic = this.#topics.get(channel);
    if (topic?.asked && !topic.refused) this.#connection.send('unsubscribe', { channel });
    this.#topics.delete(channel);
    if (!this.#topics.size) this.#rest(this.#ended ?? IDLE);
  }

  #start(): void {
    if (this.#unfollow || this.#ended || !this.#topics.size) return;
    const { hurry, retry, suspend, open } = this.#connection;
    this.#unfollow = followPage(hurry, () => retry('offline'), () => {
      suspend();
      this.#detach(CONNECTING);
    });
    this.#set(CONNECTING);
    void open();
  }

  /** Lets go of all but the channels. */
  #rest(status: Status): void {
    this.#unfollow?.();
    this.#unfollow = undefined;
    this.#connection.drop();
    this.#detach(status);
  }

  /** The connection is gone, and what was said on it counts no more. */
  #detach(status: Status): void {
    this.#settings.clock.clearTimeout(this.#asking);
    this.#asking = undefined;
    for (const topic of this.#topics.values()) {
      topic.asked = topic.joined = topic.fed = false;
      topic.refused = undefined;
    }
    this.#set(status);
  }

  /** Asks for every channel that was not asked for, if there is a connection. */
  #ask(): void {
    for (const [channel, topic] of this.#topics) topic.asked ||= this.#connection.send('subscribe', { channel });
  }

  #received({ type, channel, v = 0, data = {} }: Frame): void {
    const topic = this.#topics.get(channel ?? data.channel);
    if (type === 'status') this.#set(data.stale ? { state: 'stale', since: data.since } : OPEN);
    else if (this.#status.state === 'connecting') this.#set(OPEN);
    if (type === 'token_expiring') this.#connection.renew();
    else if (type === 'error') this.#complain(data, topic);
    else if (topic && (channel || type === 'subscribed')) {
      this.#connection.proven();
      topic.joined = true;
      topic.refused = undefined;
      this.#tell(topic);
      if (!channel || !isNewer(v, topic.version, !topic.fed)) return;
      topic.version = v;
      topic.fed = true;
      topic.value = data;
      each(topic.watchers, topic.watchers, ({ observer }) => observer.next?.(data));
    }
  }

  #complain({ code, message }: { code: string; message?: string }, topic?: Topic): void {
    const { clock, random } = this.#settings;
    // The new token was refused on this connection; on another it may do, if it is another user's.
    if (code === 'unauthorized') this.#connection.retry(code);
    else if (code === 'unavailable' || code === 'rate_limited') {
      // It concerns the moment, and perhaps not this channel alone.
      for (const topic of this.#topics.values()) topic.asked = !!topic.joined;
      this.#asking ??= clock.setTimeout(() => {
        this.#asking = undefined;
        this.#ask();
      }, BUSY_MS * (1 + random()));
    } else if (topic) {
      topic.joined = false;
      topic.value = undefined;
      topic.refused = { state: 'closed', error: new LatidoError(code as ErrorCode, message) };
      this.#tell(topic);
    }
  }

  #set(status: Status): void {
    if (status === this.#status) return;
    this.#status = status;
    each(this.#listeners, this.#listeners, (listener) => listener(status.state, status));
    for (const topic of [...this.#topics.values()]) this.#tell(topic);
  }

  /** Tells watchers what they have not been told. */
  #tell(topic: Topic): void {
    each(topic.watchers, topic.watchers, (watcher) => {
      const isUp = this.#status === OPEN || this.#status.state === 'stale';
      const status = topic.refused ?? (isUp && !topic.joined ? CONNECTING : this.#status);
      const { state, error } = status;
      if (status === watcher.told) return;
      watcher.told = status;
      watcher.observer.status?.(state, status);
      if (state === 'closed' && error) watcher.observer.error?.(error);
    });
  }
}

/** For each that is still among `all` when its turn comes: what is called may add and remove. A mistake of its own is reported as one, and stops nothing here. */
function each<T>(some: Iterable<T>, all: Set<T>, call: (item: T) => void): void {
  for (const item of [...some]) {
    try {
      if (all.has(item)) call(item);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}
