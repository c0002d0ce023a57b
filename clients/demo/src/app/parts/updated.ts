import { ChangeDetectionStrategy, Component, computed, inject, input } from '@angular/core';
import { Now } from '../now';
import { Words } from '../words/words';

/** When a number came, in words that go with the time. */
@Component({
  selector: 'latido-updated',
  changeDetection: ChangeDetectionStrategy.OnPush,
  template: `
    @if (at(); as at) {
      <time [attr.datetime]="at.toISOString()" [title]="words.timeWithSeconds(at.getTime())">{{ text() }}</time>
    } @else {
      {{ words.say('waiting') }}
    }
  `,
})
export class Updated {
  protected readonly words = inject(Words);
  readonly #now = inject(Now);
  readonly at = input<Date>();
  protected readonly text = computed(() => {
    const ago = this.words.ago(this.#now.ms() - (this.at()?.getTime() ?? 0));
    return this.words.say('updated', { ago });
  });
}
