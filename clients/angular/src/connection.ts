import { assertInInjectionContext, computed, DestroyRef, inject, NgZone, type Signal, signal } from '@angular/core';
import type { State, Status } from 'latido';

import { LATIDO } from './provide';

/** The connection that all channels share. */
export interface LatidoConnection {
  /** `closed` while nothing is watched. */
  readonly state: Signal<State>;
  /** The state with what is known about it: why there is no connection, since when the numbers may be old. */
  readonly status: Signal<Status>;
  /** Connects anew at once, with a new token: after a sign-in, or because somebody pressed a button. */
  reconnect(): void;
}

/** The connection, for whoever shows its state. It watches nothing by itself. */
export function injectLatidoConnection(): LatidoConnection {
  assertInInjectionContext(injectLatidoConnection);
  const client = inject(LATIDO);
  const zone = inject(NgZone);
  const status = signal<Status>(client?.status ?? { state: 'closed' });
  const stop = client?.onStatus((_, next) => status.set(next));
  if (stop) inject(DestroyRef).onDestroy(stop);
  return {
    state: computed(() => status().state),
    status: status.asReadonly(),
    reconnect: () => zone.runOutsideAngular(() => client?.reconnect()),
  };
}
