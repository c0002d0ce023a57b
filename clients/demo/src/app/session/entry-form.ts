import { ChangeDetectionStrategy, Component, ElementRef, afterNextRender, inject, input, linkedSignal, signal, viewChild } from '@angular/core';
import type { Word } from '../words/dictionary';
import { Words } from '../words/words';
import { Session } from './session';

/** For a deployment: whose token, which businesses, which server. */
@Component({
  selector: 'latido-entry-form',
  changeDetection: ChangeDetectionStrategy.OnPush,
  template: `
    <form class="entry" autocomplete="off" (submit)="submit($event, token.value, ids.value, server.value)" [attr.aria-busy]="busy()">
      <h1 id="entry-title">{{ words.say('entry_title') }}</h1>
      <p class="lead">{{ words.say('entry_lead') }}</p>

      @if (complaint(); as word) {
        <p class="fault" id="fault" role="alert">{{ words.say(word) }}</p>
      }

      <label for="token">{{ words.say('token') }}</label>
      <textarea #token id="token" rows="3" required spellcheck="false" autocapitalize="off" [attr.aria-describedby]="complaint() ? 'fault' : null"></textarea>

      <label for="ids">{{ words.say('ids') }}</label>
      <textarea #ids id="ids" rows="2" spellcheck="false" autocapitalize="off" aria-describedby="ids-help"></textarea>
      <p class="help" id="ids-help">{{ words.say('ids_help') }}</p>

      <details>
        <summary>{{ words.say('other_server') }}</summary>
        <label for="server">{{ words.say('server') }}</label>
        <input #server id="server" type="text" inputmode="url" spellcheck="false" autocapitalize="off" placeholder="https://live.example.com" aria-describedby="server-help">
        <p class="help" id="server-help">{{ words.say('server_help') }}</p>
      </details>

      <button class="primary" type="submit" [attr.aria-disabled]="busy() || null">{{ words.say(busy() ? 'entering' : 'enter') }}</button>
    </form>
  `,
})
export class EntryForm {
  protected readonly words = inject(Words);
  readonly #session = inject(Session);
  /** Why somebody who was in is here. */
  readonly reason = input<Word>();
  protected readonly complaint = linkedSignal(() => this.reason());
  protected readonly busy = signal(false);
  private readonly token = viewChild.required<ElementRef<HTMLTextAreaElement>>('token');

  constructor() {
    afterNextRender(() => this.token().nativeElement.focus());
  }

  protected async submit(event: Event, token: string, ids: string, server: string): Promise<void> {
    event.preventDefault();
    if (this.busy()) return;
    this.busy.set(true);
    this.complaint.set(undefined);
    this.complaint.set(await this.#session.enter({ token: token.trim(), ids, server }));
    this.busy.set(false);
  }
}
