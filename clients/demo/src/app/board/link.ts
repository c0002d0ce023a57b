import { Injectable, computed, effect, inject, signal } from '@angular/core';
import { type Status, injectLatidoConnection } from '@latido/angular';
import { Now } from '../now';
import type { Word } from '../words/dictionary';
import { Words } from '../words/words';

/** After so long without a connection amber turns red: by then it is no hiccup. */
export const DOWN_MS = 20_000;

/** How it stands: green, amber, red. */
export type Tone = 'good' | 'warn' | 'bad';

/** The connection in words. */
export interface Mood {
  readonly tone: Tone;
  readonly word: Word;
  /** Of what `word` tells the time, Unix ms. */
  readonly at?: number;
  /** What it means, where that needs saying. */
  readonly why?: Word;
  /** Nothing but another token will help. */
  readonly isOver?: boolean;
  /** It is being tried at this moment. */
  readonly isTrying?: boolean;
}

/** Where a dashboard stands: what the library says, seen by a person. Pure. */
export function moodOf(status: Status, wasLive: boolean, downSince: number | undefined, now: number): Mood {
  if (status.state === 'open') return { tone: 'good', word: 'open' };
  if (status.state === 'stale') return { tone: 'warn', word: 'stale', at: status.since === undefined ? now : status.since * 1000, why: 'why_stale' };
  const code = status.error?.code;
  if (status.state === 'closed' && code) {
    const why: Word = code === 'unauthorized' || code === 'token' ? 'why_unauthorized' : code === 'forbidden' ? 'why_forbidden' : 'why_closed';
    return { tone: 'bad', word: 'closed', why, isOver: why !== 'why_closed' };
  }
  if (code === 'offline') return { tone: 'bad', word: 'offline', why: 'why_offline' };
  if (downSince !== undefined && now - downSince >= DOWN_MS) return { tone: 'bad', word: 'down', at: downSince, why: 'why_down', isTrying: true };
  return { tone: 'warn', word: wasLive ? 'reconnecting' : 'connecting', isTrying: true };
}

/** The connection of the present access. */
@Injectable()
export class Link {
  readonly #words = inject(Words);
  readonly #now = inject(Now);
  readonly #connection = injectLatidoConnection();
  readonly #downSince = signal<number | undefined>(Date.now());
  readonly #wasLive = signal(false);

  readonly mood = computed(() => moodOf(this.#connection.status(), this.#wasLive(), this.#downSince(), this.#now.ms()));
  /** The same, unchanged while the time goes by. */
  readonly tone = computed(() => this.mood().tone);
  readonly text = computed(() => {
    const { word, at } = this.mood();
    return this.#words.say(word, at === undefined ? {} : { at: this.#words.time(at) });
  });
  readonly why = computed(() => this.mood().why);

  constructor() {
    effect(() => {
      const { state } = this.#connection.status();
      const isUp = state === 'open' || state === 'stale';
      if (isUp) this.#wasLive.set(true);
      this.#downSince.update((since) => (isUp ? undefined : (since ?? Date.now())));
    });
  }

  reconnect(): void {
    this.#connection.reconnect();
  }
}
