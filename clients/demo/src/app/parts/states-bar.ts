import { ChangeDetectionStrategy, Component, computed, inject, input } from '@angular/core';
import type { Estadisticas } from '@latido/angular';
import { Words } from '../words/words';

/** Completed, cancelled and pending in one bar with its three numbers. */
@Component({
  selector: 'latido-states-bar',
  changeDetection: ChangeDetectionStrategy.OnPush,
  template: `
    <div class="stack" aria-hidden="true">
      @for (part of parts(); track part.tone) {
        <span [class]="part.tone" [style.flex-grow]="part.count ?? 0"></span>
      }
    </div>
    <ul class="counts">
      @for (part of parts(); track part.tone) {
        <li [class]="part.tone">{{ words.say(part.word) }} <b>{{ part.count === undefined ? '–' : words.number(part.count) }}</b></li>
      }
    </ul>
  `,
})
export class StatesBar {
  protected readonly words = inject(Words);
  readonly stats = input<Estadisticas>();
  readonly pending = input<number>();
  protected readonly parts = computed(() => [
    { tone: 'good', word: 'citas_completadas', count: this.stats()?.citas_completadas } as const,
    { tone: 'bad', word: 'citas_canceladas', count: this.stats()?.citas_canceladas } as const,
    { tone: 'wait', word: 'citas_pendientes', count: this.pending() } as const,
  ]);
}
