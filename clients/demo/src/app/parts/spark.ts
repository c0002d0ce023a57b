import { ChangeDetectionStrategy, Component, computed, inject, input } from '@angular/core';
import type { Point } from '../history/history';
import { HEIGHT, WIDTH, frame, paths } from '../history/scale';
import { Now } from '../now';

/** The line of a day without any word, behind a number that says it all. */
@Component({
  selector: 'latido-spark',
  changeDetection: ChangeDetectionStrategy.OnPush,
  template: `
    <svg class="spark" [attr.viewBox]="viewBox" preserveAspectRatio="none" aria-hidden="true">
      <path class="area" [attr.d]="drawn().area" />
      <path class="gap" [attr.d]="drawn().gap" />
      <path class="line" [attr.d]="drawn().line" />
    </svg>
  `,
})
export class Spark {
  readonly #now = inject(Now);
  readonly points = input.required<readonly Point[]>();
  protected readonly viewBox = `0 0 ${WIDTH} ${HEIGHT}`;
  protected readonly drawn = computed(() => {
    const shown = frame(this.points(), this.#now.calm());
    // From edge to edge, however short the time: without an axis nobody misses the rest.
    return paths(this.points(), { ...shown, to: Math.max(shown.end, shown.from + 1) });
  });
}
