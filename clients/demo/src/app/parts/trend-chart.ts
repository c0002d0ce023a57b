import { ChangeDetectionStrategy, Component, computed, inject, input, signal } from '@angular/core';
import type { Point } from '../history/history';
import { HEIGHT, WIDTH, across, down, frame, paths, timeTicks, valueAt, valueTicks } from '../history/scale';
import { Now } from '../now';
import { Words } from '../words/words';

const MINUTE_MS = 60_000;

/** How a number went today. Grows with the day; a pointer over it reads the number at a moment. */
@Component({
  selector: 'latido-trend-chart',
  changeDetection: ChangeDetectionStrategy.OnPush,
  template: `
    @if (isEmpty()) {
      <p class="nothing">{{ words.say('trend_empty') }}</p>
    } @else {
      <figure class="trend" role="img" [attr.aria-label]="said()">
        <div class="levels" aria-hidden="true">
          @for (level of levels(); track level.value) {
            <span [style.top.%]="level.top">{{ words.number(level.value) }}</span>
          }
        </div>
        <div class="plot" (pointermove)="read($event)" (pointerleave)="pointed.set(undefined)">
          <svg [attr.viewBox]="viewBox" preserveAspectRatio="none" aria-hidden="true">
            @for (level of levels(); track level.value) {
              <path class="rule" [attr.d]="level.rule" />
            }
            <path class="area" [attr.d]="drawn().area" />
            <path class="gap" [attr.d]="drawn().gap" />
            <path class="line" [attr.d]="drawn().line" />
          </svg>
          @if (tip(); as tip) {
            <span class="tip" aria-hidden="true" [style.top.%]="tip.top" [style.left.%]="tip.left"></span>
          }
          @if (reading(); as reading) {
            <span class="cross" aria-hidden="true" [style.left.%]="reading.left"></span>
            <span class="reading" aria-hidden="true" [class.end]="reading.left > 60" [style.left.%]="reading.left"><b>{{ reading.value }}</b> {{ reading.at }}</span>
          }
        </div>
        <div class="times" aria-hidden="true">
          @for (time of times(); track time.at) {
            <span [style.left.%]="time.left">{{ time.text }}</span>
          }
        </div>
      </figure>
    }
  `,
})
export class TrendChart {
  protected readonly words = inject(Words);
  readonly #now = inject(Now);
  readonly points = input.required<readonly Point[]>();

  protected readonly viewBox = `0 0 ${WIDTH} ${HEIGHT}`;
  protected readonly isEmpty = computed(() => !this.points().some(({ value }) => value !== null));
  readonly #frame = computed(() => frame(this.points(), this.#now.calm()));
  protected readonly drawn = computed(() => paths(this.points(), this.#frame()));

  protected readonly levels = computed(() =>
    valueTicks(this.#frame()).map((value) => {
      const part = down(this.#frame(), value);
      return { value, top: part * 100, rule: `M0 ${part * HEIGHT}H${WIDTH}` };
    }),
  );

  protected readonly times = computed(() => {
    const { step, ticks } = timeTicks(this.#frame());
    const text = (at: number) => (step < MINUTE_MS ? this.words.timeWithSeconds(at) : this.words.time(at));
    return ticks.map((at) => ({ at, left: across(this.#frame(), at) * 100, text: text(at) }));
  });

  protected readonly tip = computed(() => {
    const last = this.points().at(-1);
    return last && last.value !== null ? { left: across(this.#frame(), this.#frame().end) * 100, top: down(this.#frame(), last.value) * 100 } : undefined;
  });

  protected readonly said = computed(() => {
    const values = this.points().flatMap(({ value }) => (value === null ? [] : [value]));
    const [from = 0, to = 0, most] = [values[0], values.at(-1), Math.max(...values)].map((value) => this.words.number(value ?? 0));
    return this.words.say('trend_said', { from: `${from}`, to: `${to}`, most: `${most}`, at: this.words.time(this.points()[0]?.at ?? 0) });
  });

  /** Where the pointer is, 0 to 1. */
  protected readonly pointed = signal<number | undefined>(undefined);
  protected readonly reading = computed(() => {
    const part = this.pointed();
    if (part === undefined) return undefined;
    const { from, to } = this.#frame();
    const at = from + part * (to - from);
    const point = at > this.#frame().end ? undefined : valueAt(this.points(), at);
    return point && { left: part * 100, value: point.value === null ? '–' : this.words.number(point.value), at: this.words.timeWithSeconds(at) };
  });

  protected read(event: PointerEvent): void {
    const { left, width } = (event.currentTarget as HTMLElement).getBoundingClientRect();
    this.pointed.set(Math.min(1, Math.max(0, (event.clientX - left) / (width || 1))));
  }
}
