import type { LatidoError } from './error.js';

/**
 * Of a channel, and of the connection as a whole.
 *
 * - `connecting`: there is no connection, and one is on its way or will be tried; or the channel is not confirmed yet.
 * - `open`: what is on screen is what is in the database.
 * - `stale`: connected, but the server can't read the database: what is on screen may be old.
 * - `closed`: nothing will come: it was closed, refused for good, or (the connection) nothing is watched.
 */
export type State = 'connecting' | 'open' | 'stale' | 'closed';

/** A state and what is known about it. */
export interface Status {
  readonly state: State;
  /** `connecting` again, or `closed`: why. */
  readonly error?: LatidoError;
  /** `stale`: since when, Unix seconds. */
  readonly since?: number;
}

/** What a watcher wants to hear. Nothing is called before `watch` has returned, nor after unsubscribing. */
export interface Observer<T, H = unknown> {
  /** The current value at once, then every change of it. */
  next?(value: T): void;
  /** Asks for the channel's history, which `rows` gets before the next value. */
  history?: boolean;
  /**
   * The rows of the stream's history query, in its order. It is called again with the rows of then after each reconnect, or when another
   * watcher asks; by an event stream also when other channels come or go. They replace those before. `null`: the stream has no history,
   * or the server can't read it now.
   */
  rows?(rows: H[] | null): void;
  /** It stopped trying: this channel was refused, or the connection for good. Everything that mends itself is told by `status` alone. */
  error?(error: LatidoError): void;
  /** The channel's state, now and whenever it changes. */
  status?(state: State, status: Status): void;
}

/** Hears of the connection. */
export type Listener = (state: State, status: Status) => void;

/** The name of a channel of these streams, which `latido types --typescript` writes: `ventas:7/3` of `{ ventas: … }`. */
export type ChannelName<S> = keyof S extends infer N ? (N extends string ? ChannelOf<N> : never) : never;

/** The name of a channel of one stream. */
export type ChannelOf<N extends string> = N | `${N}:${string}` | `${N}?${string}`;

/** What a channel of this name sends. */
export type ChannelData<S, C> = {
  [N in keyof S & string]: C extends ChannelOf<N> ? (S[N] extends { data: infer D } ? D : never) : never;
}[keyof S & string];

/** The rows of its history, if its stream has one. */
export type ChannelHistory<S, C> = {
  [N in keyof S & string]: C extends ChannelOf<N> ? (S[N] extends { history: infer H } ? H : never) : never;
}[keyof S & string];

/** See {@link Latido.watch}. */
export interface Watch<S = {}> {
  <C extends ChannelName<S>>(channel: C, observer: Observer<ChannelData<S, C>, ChannelHistory<S, C>>): () => void;
  <C extends ChannelName<S>>(channel: C): AsyncIterableIterator<ChannelData<S, C>>;
  <T, H = unknown, C extends string = string>(channel: OtherName<S, C>, observer: Observer<T, H>): () => void;
  <T, C extends string = string>(channel: OtherName<S, C>): AsyncIterableIterator<T>;
}

/** A name that is not known to be a channel of these streams. */
type OtherName<S, C extends string> = C extends ChannelName<S> ? never : C;

/** See {@link Latido.last}. */
export interface Last<S = {}> {
  <C extends ChannelName<S>>(channel: C): ChannelData<S, C> | undefined;
  <T, C extends string = string>(channel: OtherName<S, C>): T | undefined;
}

/** Why a token is wanted, and until when. */
export interface TokenRequest {
  /**
   * `connect`: there is none. `expiring`: the one in use ends within a minute. `refused`: the last one may have been refused. After the
   * last two, don't hand out the same one from a cache.
   */
  readonly reason: 'connect' | 'expiring' | 'refused';
  /** Aborted once the answer is of no use: pass it to `fetch`. */
  readonly signal: AbortSignal;
}

/** A token, or where to get one. A rejection is tried again later; throw `new LatidoError('unauthorized')` to stop: nobody is signed in. */
export type Token = string | ((request: TokenRequest) => string | Promise<string>);

/** As much of a WebSocket as is used: the browser's, Node's (from 22 on), `ws`. */
export interface WebSocketLike {
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(data: string): void;
  close(): void;
}

/** The class of it. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

/** Time, for tests: as much of `globalThis` as is used. */
export interface Clock {
  setTimeout(call: () => void, ms: number): unknown;
  clearTimeout(timer: any): void;
  readonly performance: { now(): number };
}

/** How to be let in, and what a test replaces. */
export interface LatidoOptions {
  /** Rides as a subprotocol, where it is in no address and in no log. */
  token: Token;
  /** Default: the runtime's own. Node 20 has none: `import { WebSocket } from 'ws'`. */
  WebSocket?: WebSocketConstructor | undefined;
  /** From 0 to 1. Default `Math.random`. */
  random?: () => number;
  /** Default `globalThis`. */
  clock?: Clock;
}

/** What the built-in stream `estadisticas` sends. */
export interface Estadisticas {
  negocio_id: string;
  citas_hoy: number;
  total_citas: number;
  citas_completadas: number;
  citas_canceladas: number;
  /** When it was read, Unix seconds. */
  timestamp: number;
}
