import { ChangeDetectionStrategy, Component, computed, inject } from '@angular/core';
import { Themes } from '../theme';
import type { Word } from '../words/dictionary';
import { Words } from '../words/words';
import { Icon } from './icon';

/** The top of every view: whose it is, what the view adds, language and theme. */
@Component({
  selector: 'latido-bar',
  changeDetection: ChangeDetectionStrategy.OnPush,
  imports: [Icon],
  template: `
    <header class="bar">
      <p class="brand">
        <svg class="pulse" viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="9" /><path d="M4.5 17.5h5.2l2.9-8.2 5.1 14.2 3.1-9 1.6 3h5.1" /></svg>
        <span>Latido</span>
      </p>
      <ng-content />
      <div class="tools">
        <ng-content select="[tool]" />
        <button class="quiet icon" type="button" (click)="themes.next()" [attr.aria-label]="themeSaid()" [title]="themeSaid()"><latido-icon [name]="themes.theme()" /></button>
        <button class="quiet" type="button" [attr.lang]="words.other()" (click)="words.switch()">{{ words.say('language') }}</button>
      </div>
    </header>
  `,
})
export class Bar {
  protected readonly words = inject(Words);
  protected readonly themes = inject(Themes);
  protected readonly themeSaid = computed(() => {
    const word: Word = `theme_${this.themes.theme()}`;
    return `${this.words.say('theme')}: ${this.words.say(word)}`;
  });
}
