import { DOCUMENT, DestroyRef, Injectable, computed, inject, signal } from '@angular/core';

const TICK_MS = 1_000;
/** With reduced motion, what creeps along with the time does so this seldom. */
const CALM_MS = 15_000;

/** The time as a signal, for what is said relative to it. Stands still while nobody sees the page. */
@Injectable({ providedIn: 'root' })
export class Now {
  readonly #ms = signal(Date.now());
  /** Unix milliseconds, at most a second old. */
  readonly ms = this.#ms.asReadonly();
  readonly minute = computed(() => Math.floor(this.#ms() / 60_000) * 60_000);
  /** For charts. */
  readonly calm: () => number;

  constructor() {
    const document = inject(DOCUMENT);
    const reduced = document.defaultView?.matchMedia?.('(prefers-reduced-motion: reduce)');
    const slow = computed(() => Math.floor(this.#ms() / CALM_MS) * CALM_MS);
    this.calm = () => (reduced?.matches ? slow() : this.#ms());
    const tick = () => {
      if (!document.hidden) this.#ms.set(Date.now());
    };
    const timer = setInterval(tick, TICK_MS);
    document.addEventListener('visibilitychange', tick);
    inject(DestroyRef).onDestroy(() => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', tick);
    });
  }
}
