import { ChangeDetectionStrategy, Component, computed, inject, input } from '@angular/core';
import { BigNumber } from '../parts/big-number';
import { StatesChart } from '../parts/states-chart';
import { TrendChart } from '../parts/trend-chart';
import { Words } from '../words/words';
import type { Feed } from './feeds';

/** One business, whole: four numbers, its day, its states. */
@Component({
  selector: 'latido-business',
  changeDetection: ChangeDetectionStrategy.OnPush,
  imports: [BigNumber, StatesChart, TrendChart],
  template: `
    @if (feed().fault(); as fault) {
      <p class="sheet refused" role="alert">{{ words.say(fault) }}</p>
    } @else {
      <dl class="sheet numbers" [class.old]="isOld()" [class.loading]="!stats()">
        <div latidoBigNumber word="citas_hoy" tone="today" [value]="stats()?.citas_hoy" [hint]="course()"></div>
        <div latidoBigNumber word="total_citas" [value]="stats()?.total_citas" [hint]="waiting()"></div>
        <div latidoBigNumber word="citas_completadas" tone="good" [value]="stats()?.citas_completadas" [hint]="share(stats()?.citas_completadas)"></div>
        <div latidoBigNumber word="citas_canceladas" tone="bad" [value]="stats()?.citas_canceladas" [hint]="share(stats()?.citas_canceladas)"></div>
      </dl>
      <section class="sheet day" aria-labelledby="trend-title" [class.old]="isOld()">
        <h2 id="trend-title">{{ words.say('trend') }}</h2>
        @if (feed().history()[0]; as first) {
          <p class="lead">{{ words.say('trend_since', { at: words.time(first.at) }) }}</p>
        }
        <latido-trend-chart [points]="feed().history()" />
      </section>
      <section class="sheet states" aria-labelledby="states-title" [class.old]="isOld()">
        <h2 id="states-title">{{ words.say('states') }}</h2>
        <latido-states-chart [stats]="stats()" [pending]="feed().pending()" />
      </section>
    }
  `,
})
export class Business {
  protected readonly words = inject(Words);
  readonly feed = input.required<Feed>();
  protected readonly stats = computed(() => this.feed().stats.value());
  protected readonly isOld = computed(() => this.feed().stats.isStale());
  protected readonly waiting = computed(() => {
    const pending = this.feed().pending();
    return pending === undefined ? undefined : this.words.say(pending === 1 ? 'pending_one' : 'pending_many', { count: this.words.number(pending) });
  });
  /** How today has gone since this screen looks on. */
  protected readonly course = computed(() => {
    const first = this.feed().history().find(({ value }) => value !== null);
    const now = this.stats()?.citas_hoy;
    if (!first || now === undefined) return undefined;
    const [change, at] = [now - (first.value ?? 0), this.words.time(first.at)];
    return change ? this.words.say('since_first', { change: this.words.change(change), at }) : this.words.say('since_same', { at });
  });

  protected share(count: number | null | undefined): string | undefined {
    const total = this.stats()?.total_citas;
    if (count == null || total === undefined) return undefined;
    return this.words.say('share', { percent: this.words.percent(total ? count / total : 0) });
  }
}
