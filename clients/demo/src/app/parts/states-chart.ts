import { ChangeDetectionStrategy, Component, computed, inject, input } from '@angular/core';
import type { Estadisticas } from '@latido/angular';
import type { Word } from '../words/dictionary';
import { Words } from '../words/words';

interface Part {
  readonly tone: string;
  readonly word: Word;
  readonly count: number;
  /** Of the whole, 0 to 1. */
  readonly share: number;
  /** Where on the ring it stands, in hundredths: how long, and after how much. */
  readonly dash: string;
  readonly offset: number;
}

/** Between two parts of the ring, in hundredths of it. */
const GAP = 0.8;

/** Completed, cancelled and pending, as a ring with its legend. The legend is the text of it; the ring is for the eye. */
@Component({
  selector: 'latido-states-chart',
  changeDetection: ChangeDetectionStrategy.OnPush,
  template: `
    <figure class="ring">
      <svg viewBox="0 0 120 120" aria-hidden="true">
        <circle class="track" cx="60" cy="60" r="50" pathLength="100" />
        @for (part of parts(); track part.tone) {
          <circle [attr.class]="'part ' + part.tone" cx="60" cy="60" r="50" pathLength="100" [style.stroke-dasharray]="part.dash" [style.stroke-dashoffset]="part.offset" [class.none]="!part.count" />
        }
      </svg>
      <p class="middle" aria-hidden="true">
        <b>{{ done() }}</b>
        <span>{{ words.say('citas_completadas') }}</span>
      </p>
    </figure>
    <ul class="legend">
      @for (part of parts(); track part.tone) {
        <li [class]="part.tone">
          <span class="key" aria-hidden="true"></span>
          <span class="what">{{ words.say(part.word) }}</span>
          <b>{{ words.number(part.count) }}</b>
          <span class="share">{{ words.percent(part.share) }}</span>
        </li>
      }
    </ul>
  `,
})
export class StatesChart {
  protected readonly words = inject(Words);
  readonly stats = input<Estadisticas>();
  readonly pending = input<number>();

  protected readonly parts = computed<Part[]>(() => {
    const stats = this.stats();
    const counts: [string, Word, number][] = [
      ['good', 'citas_completadas', stats?.citas_completadas ?? 0],
      ['bad', 'citas_canceladas', stats?.citas_canceladas ?? 0],
      ['wait', 'citas_pendientes', this.pending() ?? 0],
    ];
    const total = counts.reduce((sum, [, , count]) => sum + count, 0);
    let before = 0;
    return counts.map(([tone, word, count]) => {
      const share = total ? count / total : 0;
      const length = Math.max(0, share * 100 - (share < 1 ? GAP : 0));
      const part = { tone, word, count, share, dash: `${length.toFixed(2)} 100`, offset: -Number((before + (share < 1 ? GAP / 2 : 0)).toFixed(2)) };
      before += share * 100;
      return part;
    });
  });

  protected readonly done = computed(() => (this.stats() ? this.words.percent(this.parts()[0]?.share ?? 0) : '–'));
}
