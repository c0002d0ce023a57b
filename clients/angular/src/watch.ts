import {
  assertInInjectionContext,
  computed,
  effect,
  inject,
  Injector,
  linkedSignal,
  NgZone,
  runInInjectionContext,
  type Signal,
  untracked,
} from '@angular/core';
import type { LatidoError, State, Status } from 'latido';

import { LATIDO } from './provide';

/** What need not be there yet. */
export type Maybe<T> = T | null | undefined;

/**
 * A resource's words. `idle`: there is no channel. `loading`: no value has come. `resolved`: there is one; whether it is still true says
 * `connection`. `error`: the channel was refused, or the connection for good.
 */
export type LatidoStatus = 'idle' | 'loading' | 'resolved' | 'error';

/** A live value, in the shape of Angular's `Resource`. Unlike that, `value` never throws: an error leaves the last value where it is, but for one that may not be seen any more. */
export interface LatidoRef<T, H = unknown> {
  /** The newest value. */
  readonly value: Signal<T>;
  readonly status: Signal<LatidoStatus>;
  /** Why nothing will come, which `status` calls `error`; or `unavailable`: why nothing comes now, and the value may be old. */
  readonly error: Signal<LatidoError | undefined>;
  /** When the server read the value. */
  readonly updatedAt: Signal<Date | undefined>;
  readonly isLoading: Signal<boolean>;
  /** There is a value, and it may be old: the connection is gone, or the server's to its database, or this channel can't be read. */
  readonly isStale: Signal<boolean>;
  /** Since when the server can't read it, if it says so. */
  readonly staleSince: Signal<Date | undefined>;
  /** The state of this channel. */
  readonly connection: Signal<State>;
  /**
   * With the option `history`: the rows of the channel's history, read anew after each reconnect. `undefined` until they come; `null`:
   * the stream has none, or the server can't read it now.
   */
  readonly history: Signal<readonly H[] | null | undefined>;
  hasValue(): this is LatidoRef<Exclude<T, undefined>, H>;
}

export interface LatidoInjectOptions {
  /** For calls outside of an injection context. */
  injector?: Injector;
  /** Asks for the history of the channel, which comes before its first value. */
  history?: boolean;
}

/**
 * Watches a channel for as long as the injection context lives.
 *
 * @param channel its name, or a signal or function of it: another name is another channel, and none is `idle`
 */
export function injectLatido<T, H = unknown>(
  channel: Maybe<string> | (() => Maybe<string>),
  options: LatidoInjectOptions = {},
): LatidoRef<T | undefined, H> {
  if (!options.injector) assertInInjectionContext(injectLatido);
  return runInInjectionContext(options.injector ?? inject(Injector), () => watch<T, H>(channel, options.history));
}

function watch<T, H>(channel: Maybe<string> | (() => Maybe<string>), asks?: boolean): LatidoRef<T | undefined, H> {
  const client = inject(LATIDO);
  const zone = inject(NgZone);
  const name = computed(() => (typeof channel === 'function' ? channel() : channel) ?? undefined);
  // With the name everything is reset at once: nobody sees one business's numbers under another's name.
  const value = linkedSignal<string | undefined, T | undefined>({
    source: name,
    computation: (channel) => (channel === undefined ? undefined : client?.last<T>(channel)),
  });
  const history = linkedSignal<string | undefined, H[] | null | undefined>({ source: name, computation: () => undefined });
  const end = linkedSignal<string | undefined, LatidoError | undefined>({ source: name, computation: () => undefined });
  const current = linkedSignal<string | undefined, Status>({
    source: name,
    computation: (channel) => ({ state: channel === undefined ? 'closed' : 'connecting' }),
  });

  effect((onCleanup) => {
    const channel = name();
    if (!client || channel === undefined) return;
    // Outside of a zone, which would otherwise wait for the heartbeat and never call the application stable.
    const outside = <R>(call: () => R): R => untracked(() => zone.runOutsideAngular(call));
    const stop = outside(() =>
      client.watch<T, H>(channel, {
        ...(asks && { history: true, rows: (rows: H[] | null) => history.set(rows) }),
        next: (next) => value.set(next),
        error: (reason) => {
          end.set(reason);
          value.set(client.last<T>(channel));
        },
        status: (_, next) => {
          current.set(next);
          end.set(undefined);
        },
      }),
    );
    onCleanup(() => outside(stop));
  });

  const hasValue = () => value() !== undefined;
  const status = computed<LatidoStatus>(() => {
    if (name() === undefined) return 'idle';
    if (end()) return 'error';
    return hasValue() ? 'resolved' : 'loading';
  });
  const connection = computed(() => current().state);
  const isAway = (error: LatidoError | undefined) => error?.code === 'unavailable';
  return {
    value: value.asReadonly(),
    status,
    error: computed(() => end() ?? (isAway(current().error) ? current().error : undefined)),
    updatedAt: computed(() => readAt(value())),
    isLoading: computed(() => status() === 'loading'),
    isStale: computed(() => hasValue() && connection() !== 'open'),
    staleSince: computed(() => toDate(current().since)),
    connection,
    history: history.asReadonly(),
    hasValue: hasValue as LatidoRef<T | undefined, H>['hasValue'],
  };
}

/** Every value of a Latido server carries the time at which it was read. */
function readAt(value: unknown): Date | undefined {
  return toDate((value as { timestamp?: unknown } | undefined)?.timestamp);
}

/** Of Unix seconds. */
function toDate(time: unknown): Date | undefined {
  return typeof time === 'number' ? new Date(time * 1000) : undefined;
}
