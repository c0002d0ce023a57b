import { DOCUMENT, Injectable, effect, inject, signal } from '@angular/core';
import { dropStored, readStored, writeStored } from './stored';

export type Theme = 'system' | 'light' | 'dark';

/** As `public/theme.js` reads it before the first paint. */
const REMEMBERED = 'latido.theme';
const ORDER: readonly Theme[] = ['system', 'light', 'dark'];

/** Light, dark, or whatever the system says. */
@Injectable({ providedIn: 'root' })
export class Themes {
  readonly #theme = signal<Theme>(initial());
  readonly theme = this.#theme.asReadonly();

  constructor() {
    const { documentElement } = inject(DOCUMENT);
    effect(() => {
      const theme = this.#theme();
      if (theme === 'system') delete documentElement.dataset['theme'];
      else documentElement.dataset['theme'] = theme;
    });
  }

  next(): void {
    const theme = ORDER[(ORDER.indexOf(this.#theme()) + 1) % ORDER.length] ?? 'system';
    this.#theme.set(theme);
    if (theme === 'system') dropStored('local', REMEMBERED);
    else writeStored('local', REMEMBERED, theme);
  }
}

function initial(): Theme {
  const chosen = readStored('local', REMEMBERED);
  return chosen === 'light' || chosen === 'dark' ? chosen : 'system';
}
