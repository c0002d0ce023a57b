import { NgComponentOutlet } from '@angular/common';
import { ChangeDetectionStrategy, Component, DOCUMENT, EnvironmentInjector, createEnvironmentInjector, effect, inject, signal, untracked } from '@angular/core';
import { provideLatido } from '@latido/angular';
import { Board } from './board/board';
import { Feeds } from './board/feeds';
import { Link } from './board/link';
import { Bar } from './parts/bar';
import { EntryForm } from './session/entry-form';
import { ACCESS, Session } from './session/session';
import { Words } from './words/words';

/** Whoever is signed in gets a board with a connection of its own, which ends when they leave. */
@Component({
  selector: 'latido-app',
  changeDetection: ChangeDetectionStrategy.OnPush,
  imports: [Bar, EntryForm, NgComponentOutlet],
  template: `
    <a class="skip" href="#content" (click)="skip($event)">{{ words.say('skip') }}</a>
    @if (phase(); as phase) {
      @if (phase.name === 'open') {
        @if (scope(); as scope) {
          <ng-container *ngComponentOutlet="board; environmentInjector: scope" />
        }
      } @else {
        <latido-bar />
        <main id="content" tabindex="-1">
          @if (phase.name === 'entry') {
            <latido-entry-form [reason]="phase.reason" />
          } @else {
            <div class="sheet looking" role="status">
              <h1>{{ words.say('looking') }}</h1>
              @if (phase.failed) {
                <p class="lead">{{ words.say('looking_long') }}</p>
                <p class="choices">
                  <button class="primary" type="button" (click)="session.hurry()">{{ words.say('try_now') }}</button>
                  <button class="secondary" type="button" (click)="session.leave()">{{ words.say('other_token') }}</button>
                </p>
              }
            </div>
          }
        </main>
      }
    }
  `,
})
export class App {
  protected readonly words = inject(Words);
  protected readonly session = inject(Session);
  protected readonly phase = this.session.phase;
  protected readonly board = Board;
  protected readonly scope = signal<EnvironmentInjector | undefined>(undefined);
  readonly #document = inject(DOCUMENT);

  constructor() {
    const parent = inject(EnvironmentInjector);
    effect((onCleanup) => {
      const phase = this.phase();
      if (phase.name !== 'open') return;
      const { access } = phase;
      const providers = [provideLatido({ url: access.url, token: access.token }), { provide: ACCESS, useValue: access }, Feeds, Link];
      const scope = untracked(() => createEnvironmentInjector(providers, parent, 'access'));
      this.scope.set(scope);
      onCleanup(() => {
        this.scope.set(undefined);
        scope.destroy();
      });
    });
    effect(() => {
      if (this.phase().name !== 'open') this.#document.title = `${this.words.say('app')} · Latido`;
    });
    void this.session.start();
  }

  /** By hand, since `<base href>` would make an address of it. */
  protected skip(event: Event): void {
    event.preventDefault();
    this.#document.getElementById('content')?.focus();
  }
}
