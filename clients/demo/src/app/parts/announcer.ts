import { ChangeDetectionStrategy, Component, DestroyRef, effect, inject, input, signal, untracked } from '@angular/core';

/** Between two announcements: who listens wants to work as well. */
export const SILENCE_MS = 30_000;

/** Says a text to screen readers when it changes, and not each time: after a silence, the newest. What is there at first is not news. */
@Component({
  selector: 'latido-announcer',
  changeDetection: ChangeDetectionStrategy.OnPush,
  host: { class: 'said', 'aria-live': 'polite', 'aria-atomic': 'true' },
  template: '{{ said() }}',
})
export class Announcer {
  readonly text = input<string>();
  protected readonly said = signal('');
  #heard: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    effect(() => {
      const text = this.text();
      if (text === undefined) return;
      untracked(() => {
        if (this.#heard === undefined) this.#heard = text;
        else this.#timer ??= setTimeout(() => this.#speak(), SILENCE_MS);
      });
    });
    inject(DestroyRef).onDestroy(() => clearTimeout(this.#timer));
  }

  #speak(): void {
    this.#timer = undefined;
    const text = this.text();
    if (text === this.#heard || text === undefined) return;
    this.#heard = text;
    this.said.set(text);
  }
}
