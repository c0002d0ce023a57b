import { type EnvironmentProviders, Injectable, makeEnvironmentProviders } from '@angular/core';
import { LATIDO, type LatidoClient } from '@latido/angular';
import { type ErrorCode, type Estadisticas, LatidoError, type Observer, type State, type Status } from 'latido';

const CONNECTING: Status = { state: 'connecting' };
const OPEN: Status = { state: 'open' };
const IDLE: Status = { state: 'closed' };

/** Instead of `provideLatido`: no server, no socket, no waiting. Inject the {@link LatidoTestingController} to say what comes. */
export function provideLatidoTesting(): EnvironmentProviders {
  return makeEnvironmentProviders([LatidoTestingController, { provide: LATIDO, useExisting: LatidoTestingController }]);
}

/** A server and its client in one, entirely synchronous: when a method returns, every watcher has been told. */
@Injectable()
export class LatidoTestingController implements LatidoClient {
  readonly #watchers = new Map<string, Set<Observer<never, never>>>();
  readonly #values = new Map<string, unknown>();
  /** What the server said of one channel alone. */
  readonly #own = new Map<string, Status>();
  readonly #listeners = new Set<(state: State, status: Status) => void>();
  #status = IDLE;
  #isClosed = false;
  #reconnects = 0;

  /** The channels that are watched now. */
  get watched(): string[] {
    return [...this.#watchers.keys()];
  }

  /** How often `reconnect` was called. */
  get reconnects(): number {
    return this.#reconnects;
  }

  /** A value comes. Before the first one, or after a lost connection, this connects too. */
  push<T>(channel: string, value: T): void {
    if (this.#status.state === 'connecting') this.connect();
    if (this.#own.delete(channel)) this.#tell(channel);
    if (!this.#watchers.has(channel)) throw new Error(`nobody watches ${channel}; watched: ${this.watched.join(', ') || 'nothing'}`);
    this.#values.set(channel, value);
    for (const observer of this.#watchers.get(channel) ?? []) observer.next?.(value as never);
  }

  /** A history comes, for those who asked for it. `null`: there is none. */
  pushHistory<H>(channel: string, rows: H[] | null): void {
    const observers = [...(this.#watchers.get(channel) ?? [])].filter(({ history }) => history);
    if (!observers.length) throw new Error(`nobody asks for the history of ${channel}`);
    for (const observer of observers) observer.rows?.(rows as never[] | null);
  }

  /** Statistics come: zeros, but for what is given. */
  pushEstadisticas(negocioId: string | number, estadisticas: Partial<Estadisticas> = {}): void {
    this.push<Estadisticas>(`estadisticas:${negocioId}`, {
      negocio_id: String(negocioId),
      citas_hoy: 0,
      total_citas: 0,
      citas_completadas: 0,
      citas_canceladas: 0,
      timestamp: Math.floor(Date.now() / 1000),
      ...estadisticas,
    });
  }

  /** The connection stands. */
  connect(): void {
    this.#set(OPEN);
  }

  /** The connection is lost, and will be tried again. */
  disconnect(code: ErrorCode = 'lost'): void {
    this.#set({ state: 'connecting', error: new LatidoError(code) });
  }

  /** The server can't read its database; or, with a channel, what that one shows. `push` ends the latter. */
  stale(since = Math.floor(Date.now() / 1000), channel?: string): void {
    const status: Status = { state: 'stale', since };
    if (channel === undefined) this.#set(status);
    else this.#mark(channel, { ...this.#own.get(channel), ...status });
  }

  /** The server can't read a channel now; `push` ends that. */
  unavailable(channel: string): void {
    this.#mark(channel, { state: 'stale', error: new LatidoError('unavailable') });
  }

  /** The server refuses a channel. */
  refuse(channel: string, code: ErrorCode = 'forbidden'): void {
    this.#values.delete(channel);
    this.#own.set(channel, { state: 'closed', error: new LatidoError(code) });
    this.#tell(channel);
  }

  /** The server refuses the connection for good. */
  end(code: ErrorCode = 'forbidden'): void {
    this.#set({ state: 'closed', error: new LatidoError(code) });
  }

  get status(): Status {
    return this.#status;
  }

  last<T>(channel: string): T | undefined {
    return this.#values.get(channel) as T | undefined;
  }

  watch<T, H = unknown>(channel: string, observer: Observer<T, H>): () => void {
    const own: Observer<never, never> = { ...observer } as Observer<never, never>;
    const watchers = this.#watchers.get(channel) ?? new Set();
    this.#watchers.set(channel, watchers.add(own));
    if (this.#status === IDLE && !this.#isClosed) this.#set(CONNECTING);
    else this.#say(channel, own);
    if (this.#values.has(channel)) own.next?.(this.#values.get(channel) as never);
    return () => {
      if (!watchers.delete(own) || watchers.size) return;
      this.#watchers.delete(channel);
      this.#values.delete(channel);
      if (!this.#watchers.size && !this.#status.error) this.#set(IDLE);
    };
  }

  onStatus(listener: (state: State, status: Status) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  reconnect(): void {
    if (this.#isClosed) return;
    this.#reconnects++;
    this.#own.clear();
    this.#set(this.#watchers.size ? CONNECTING : IDLE);
  }

  close(): void {
    this.#isClosed = true;
    this.#set(IDLE);
    this.#watchers.clear();
  }

  #mark(channel: string, status: Status): void {
    if (this.#status.state === 'connecting') this.connect();
    this.#own.set(channel, status);
    this.#tell(channel);
  }

  #set(status: Status): void {
    this.#status = status;
    // With the connection goes what was said on it of channels that can't be read.
    const isUp = status.state === 'open' || status.state === 'stale';
    for (const [channel, { state }] of isUp ? [] : this.#own) if (state === 'stale') this.#own.delete(channel);
    for (const listener of this.#listeners) listener(status.state, status);
    for (const channel of this.#watchers.keys()) this.#tell(channel);
  }

  #tell(channel: string): void {
    for (const observer of this.#watchers.get(channel) ?? []) this.#say(channel, observer);
  }

  #say(channel: string, observer: Observer<never, never>): void {
    const status = this.#own.get(channel) ?? this.#status;
    observer.status?.(status.state, status);
    if (status.state === 'closed' && status.error) observer.error?.(status.error);
  }
}
