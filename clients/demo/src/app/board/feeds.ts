import { DOCUMENT, DestroyRef, Injectable, type Signal, computed, effect, inject, signal, untracked } from '@angular/core';
import { type ErrorCode, type Estadisticas, type LatidoRef, injectEstadisticas, injectLatidoConnection } from '@latido/angular';
import { type Point, midnight, read, record, since, write } from '../history/history';
import { Now } from '../now';
import { ACCESS } from '../session/session';
import type { Negocio } from '../session/token';
import { readStored, writeStored } from '../stored';
import type { Word } from '../words/dictionary';

/** A business, live. */
export interface Feed {
  readonly negocio: Negocio;
  readonly stats: LatidoRef<Estadisticas | undefined>;
  /** How many have neither come nor been cancelled. */
  readonly pending: Signal<number | undefined>;
  /** Today's `citas_hoy`, as far as this page has seen them. */
  readonly history: Signal<readonly Point[]>;
  /** Why there is nothing to see of this one. */
  readonly fault: Signal<Word | undefined>;
}

/** Between two writes of what was seen. */
const SAVE_MS = 2_000;

const FAULTS: { [code in ErrorCode]?: Word } = {
  forbidden: 'fault_forbidden',
  invalid_key: 'fault_invalid_key',
  too_many_channels: 'fault_too_many_channels',
};

/** All businesses of the present access. Each is watched whether it is on screen or not: so the day of each is whole, and the wall is there at once. */
@Injectable()
export class Feeds {
  readonly #document = inject(DOCUMENT);
  readonly #destroyed = inject(DestroyRef);
  readonly #now = inject(Now);
  readonly #connection = injectLatidoConnection();
  readonly all: readonly Feed[] = inject(ACCESS).negocios.map((negocio) => this.#follow(negocio));

  /** All appointments of today, of the businesses that are known. */
  readonly today = computed(() => {
    const known = this.all.flatMap(({ stats }) => stats.value()?.citas_hoy ?? []);
    return known.length ? known.reduce((sum, count) => sum + count, 0) : undefined;
  });

  #follow(negocio: Negocio): Feed {
    const stats = injectEstadisticas(negocio.id);
    const pending = computed(() => {
      const value = stats.value();
      return value && Math.max(0, value.total_citas - value.citas_completadas - value.citas_canceladas);
    });
    const fault = computed(() => {
      const code = stats.error()?.code;
      // The connection's own end is told once, and not by every business.
      return code && this.#connection.state() !== 'closed' ? (FAULTS[code] ?? 'fault_other') : undefined;
    });
    return { negocio, stats, pending, fault, history: this.#remember(negocio.id, stats) };
  }

  #remember(id: string, stats: LatidoRef<Estadisticas | undefined>): Signal<readonly Point[]> {
    const key = `latido.hoy.${id}`;
    const points = signal(since(midnight(Date.now()), read(readStored('session', key))));
    const isKnown = () => stats.connection() === 'open' && stats.hasValue();
    const save = () => {
      const last = points().at(-1);
      if (last) writeStored('session', key, write(points(), untracked(isKnown) ? Date.now() : last.at));
    };
    effect(() => {
      const value = isKnown() ? (stats.value()?.citas_hoy ?? null) : null;
      untracked(() => points.update((seen) => record(since(midnight(Date.now()), seen), { at: Date.now(), value })));
    });
    this.#saved(points, save);
    return computed(() => since(midnight(this.#now.minute()), points()));
  }

  /** Saves soon after a change, and when the page goes. */
  #saved(points: Signal<unknown>, save: () => void): void {
    let timer: ReturnType<typeof setTimeout> | undefined;
    effect(() => {
      points();
      timer ??= setTimeout(() => {
        timer = undefined;
        save();
      }, SAVE_MS);
    });
    const { defaultView } = this.#document;
    defaultView?.addEventListener('pagehide', save);
    this.#destroyed.onDestroy(() => {
      clearTimeout(timer);
      defaultView?.removeEventListener('pagehide', save);
    });
  }
}
