import { ChangeDetectionStrategy, Component, DOCUMENT, computed, effect, inject } from '@angular/core';
import { Now } from '../now';
import { Announcer } from '../parts/announcer';
import { Bar } from '../parts/bar';
import { Icon } from '../parts/icon';
import { Updated } from '../parts/updated';
import { ACCESS, Session } from '../session/session';
import { Words } from '../words/words';
import { Business } from './business';
import { Feeds } from './feeds';
import { Link } from './link';
import { Place } from './place';
import { Wall } from './wall';

/** The dashboard of who is signed in. */
@Component({
  selector: 'latido-board',
  changeDetection: ChangeDetectionStrategy.OnPush,
  imports: [Announcer, Bar, Business, Icon, Updated, Wall],
  templateUrl: './board.html',
})
export class Board {
  protected readonly words = inject(Words);
  protected readonly link = inject(Link);
  protected readonly feeds = inject(Feeds);
  protected readonly now = inject(Now);
  protected readonly access = inject(ACCESS);
  readonly #place = inject(Place);
  readonly #session = inject(Session);
  readonly #document = inject(DOCUMENT);

  protected readonly hasSeveral = this.feeds.all.length > 1;
  protected readonly isWall = computed(() => this.#place.isWall() && this.hasSeveral);
  protected readonly feed = computed(() => this.feeds.all.find(({ negocio }) => negocio.id === this.#place.id()) ?? this.feeds.all[0]!);
  protected readonly canFill = this.#document.fullscreenEnabled === true;
  /** What a number is called when it is read aloud. */
  protected readonly news = computed(() => {
    const count = this.isWall() ? this.feeds.today() : this.feed().stats.value()?.citas_hoy;
    return count === undefined ? undefined : `${this.words.say('citas_hoy')}: ${this.words.number(count)}`;
  });

  constructor() {
    effect(() => {
      const where = this.isWall() ? this.words.say('all') : this.feed().negocio.nombre;
      const what = this.link.tone() === 'good' && this.news() ? this.news() : this.link.text();
      this.#document.title = `${what} · ${where}`;
    });
  }

  protected choose(id: string): void {
    if (id) this.#place.show(id);
    else this.#place.showAll();
  }

  protected leave(): void {
    this.#session.leave();
  }

  protected fill(): void {
    const change = this.#document.fullscreenElement ? this.#document.exitFullscreen() : this.#document.documentElement.requestFullscreen();
    // A browser may refuse; then everything stays as it is.
    change.catch(() => {});
  }
}
