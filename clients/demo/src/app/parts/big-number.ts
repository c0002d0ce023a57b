import { ChangeDetectionStrategy, Component, ElementRef, afterRenderEffect, computed, inject, input, signal, viewChild } from '@angular/core';
import type { Word } from '../words/dictionary';
import { Words } from '../words/words';
import { animate } from './motion';

const ROLL_MS = 520;
const DELTA_MS = 2_400;

/** One of the numbers. What changed rolls in, and the difference stands beside it for a moment. Stands in a `dl`. */
@Component({
  selector: 'div[latidoBigNumber]',
  changeDetection: ChangeDetectionStrategy.OnPush,
  host: { class: 'number', '[class]': 'tone()', '[style.--length]': 'length()', '[attr.data-field]': 'word()' },
  template: `
    <dt>{{ words.say(word()) }}</dt>
    <dd>
      <span class="said">{{ text() }}</span>
      <span class="digits" aria-hidden="true" #digits>
        @for (digit of text(); track text().length - $index) {<span>{{ digit }}</span>}
      </span>
      <span class="delta" aria-hidden="true" #delta>{{ difference() }}</span>
    </dd>
    @if (hint(); as hint) {
      <dd class="hint">{{ hint }}</dd>
    }
  `,
})
export class BigNumber {
  protected readonly words = inject(Words);
  readonly word = input.required<Word>();
  /** In a template `?.` gives null. */
  readonly value = input<number | null>();
  /** `today`, `good`, `bad`, or nothing. */
  readonly tone = input('');
  readonly hint = input<string>();
  private readonly digits = viewChild.required<ElementRef<HTMLElement>>('digits');
  private readonly delta = viewChild.required<ElementRef<HTMLElement>>('delta');

  protected readonly text = computed(() => {
    const value = this.value();
    return value == null ? '–' : this.words.number(value);
  });
  /** Three at least, so that a number that grows by a digit does not shrink all at once. */
  protected readonly length = computed(() => Math.max(3, this.text().length));
  protected readonly difference = signal('');
  #before: { value: number; text: string } | undefined;

  constructor() {
    afterRenderEffect(() => {
      const value = this.value();
      const text = this.text();
      const before = this.#before;
      this.#before = value == null ? undefined : { value, text };
      if (value != null && before && before.value !== value) this.#roll(before.text, text, value - before.value);
    });
  }

  #roll(before: string, text: string, change: number): void {
    this.difference.set(this.words.change(change));
    const from = change > 0 ? '.32em' : '-.32em';
    const cells = [...this.digits().nativeElement.children];
    cells.forEach((cell, index) => {
      // Counted from the right: units are compared with units.
      if (text.at(index - text.length) === before.at(index - text.length)) return;
      animate(cell, [{ opacity: 0.4 }, { opacity: 1 }], [{ opacity: 0, transform: `translateY(${from})` }, { opacity: 1, transform: 'none' }], ROLL_MS);
    });
    const shown = { opacity: 1, transform: 'none' };
    animate(this.delta().nativeElement, [shown, { ...shown, offset: 0.9 }, { opacity: 0 }], [{ opacity: 0, transform: 'translateY(.3em)' }, { ...shown, offset: 0.12 }, { ...shown, offset: 0.7 }, { opacity: 0 }], DELTA_MS);
  }
}
