import { DOCUMENT, Injectable, computed, effect, inject, signal } from '@angular/core';
import { readStored, writeStored } from '../stored';
import { DICTIONARY, type Word } from './dictionary';

export type Language = 'es' | 'en';

const REMEMBERED = 'latido.language';
/** Below it, an update is «just now». */
const JUST_NOW_MS = 2_000;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** Spanish as it is written where the first businesses are; English as anywhere. */
const LOCALES: Record<Language, string> = { es: 'es-EC', en: 'en' };

/** What the dashboard says, and how it writes numbers and times. Everything here reads {@link language}, so a switch reaches every view. */
@Injectable({ providedIn: 'root' })
export class Words {
  readonly #document = inject(DOCUMENT);
  readonly #language = signal<Language>(this.#initial());
  readonly language = this.#language.asReadonly();
  readonly other = computed<Language>(() => (this.#language() === 'es' ? 'en' : 'es'));

  readonly #locale = computed(() => LOCALES[this.#language()]);
  readonly #numbers = computed(() => new Intl.NumberFormat(this.#locale(), { useGrouping: true }));
  readonly #percents = computed(() => new Intl.NumberFormat(this.#locale(), { style: 'percent' }));
  readonly #times = computed(() => new Intl.DateTimeFormat(this.#locale(), { hour: 'numeric', minute: '2-digit', hourCycle: 'h23' }));
  readonly #seconds = computed(() => new Intl.DateTimeFormat(this.#locale(), { hour: 'numeric', minute: '2-digit', second: '2-digit', hourCycle: 'h23' }));
  readonly #days = computed(() => new Intl.DateTimeFormat(this.#locale(), { weekday: 'long', day: 'numeric', month: 'long' }));
  readonly #spans = computed(() => new Intl.RelativeTimeFormat(this.#locale(), { style: 'short' }));

  constructor() {
    effect(() => (this.#document.documentElement.lang = this.#language()));
  }

  /** Takes the other language, and remembers it where the browser lets us. */
  switch(): void {
    this.#language.set(this.other());
    writeStored('local', REMEMBERED, this.#language());
  }

  say(word: Word, values: Record<string, string> = {}): string {
    const text: string = DICTIONARY[word][this.#language() === 'es' ? 0 : 1];
    return text.replace(/\{(\w+)\}/g, (_, name: string) => values[name] ?? '');
  }

  number(value: number): string {
    return this.#numbers().format(value);
  }

  /** With its sign, a true minus. */
  change(value: number): string {
    return value < 0 ? `−${this.number(-value)}` : `+${this.number(value)}`;
  }

  /** @param part of 1 */
  percent(part: number): string {
    return this.#percents().format(part);
  }

  /** @param at Unix milliseconds */
  time(at: number): string {
    return this.#times().format(at);
  }

  timeWithSeconds(at: number): string {
    return this.#seconds().format(at);
  }

  /** The day, long. */
  day(at: number): string {
    const text = this.#days().format(at);
    return text.charAt(0).toLocaleUpperCase() + text.slice(1);
  }

  /** How long ago that is. @param ms since then */
  ago(ms: number): string {
    if (ms < JUST_NOW_MS) return this.say('just_now');
    if (ms < MINUTE_MS) return this.#spans().format(-Math.floor(ms / 1000), 'second');
    if (ms < HOUR_MS) return this.#spans().format(-Math.floor(ms / MINUTE_MS), 'minute');
    return this.#spans().format(-Math.floor(ms / HOUR_MS), 'hour');
  }

  /** What was chosen before, else the browser's language, else Spanish. */
  #initial(): Language {
    const chosen = readStored('local', REMEMBERED);
    if (chosen === 'es' || chosen === 'en') return chosen;
    return this.#document.defaultView?.navigator.language?.toLowerCase().startsWith('en') ? 'en' : 'es';
  }
}
