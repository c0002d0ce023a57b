import { ChangeDetectionStrategy, Component, computed, inject, output } from '@angular/core';
import { BigNumber } from '../parts/big-number';
import { Spark } from '../parts/spark';
import { StatesBar } from '../parts/states-bar';
import { Updated } from '../parts/updated';
import { Words } from '../words/words';
import { Feeds } from './feeds';

/** All businesses at once, for a screen on the wall. */
@Component({
  selector: 'latido-wall',
  changeDetection: ChangeDetectionStrategy.OnPush,
  imports: [BigNumber, Spark, StatesBar, Updated],
  template: `
    <ul class="wall" [style.--columns]="columns()">
      @for (feed of feeds.all; track feed.negocio.id) {
        <li class="sheet tile" [class.old]="feed.stats.isStale()" [class.loading]="!feed.stats.hasValue()" [attr.data-negocio]="feed.negocio.id">
          <h2><button type="button" (click)="chosen.emit(feed.negocio.id)">{{ feed.negocio.nombre }}</button></h2>
          @if (feed.fault(); as fault) {
            <p class="refused">{{ words.say(fault) }}</p>
          } @else {
            <latido-updated class="ago" [at]="feed.stats.updatedAt()" />
            <dl>
              <div latidoBigNumber word="citas_hoy" tone="today" [value]="feed.stats.value()?.citas_hoy"></div>
            </dl>
            <latido-spark [points]="feed.history()" />
            <latido-states-bar [stats]="feed.stats.value()" [pending]="feed.pending()" />
          }
        </li>
      }
    </ul>
  `,
})
export class Wall {
  protected readonly words = inject(Words);
  protected readonly feeds = inject(Feeds);
  /** The business that somebody wants to see whole. */
  readonly chosen = output<string>();
  /** As near to a square as it gets. */
  protected readonly columns = computed(() => Math.ceil(Math.sqrt(this.feeds.all.length)));
}
