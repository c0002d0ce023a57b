import { DOCUMENT, InjectionToken, Injectable, inject, signal } from '@angular/core';
import { LatidoError, type Token } from '@latido/angular';
import type { Word } from '../words/dictionary';
import { complaint } from './check';
import { type DemoSession, demoSession } from './demo';
import { type Negocio, claimsOf, negociosIn, serverAddress, shortName } from './token';

/** Longest pause between two looks for the server; the first is a quarter of a second. */
const LONGEST_PAUSE_MS = 8_000;
const FIRST_PAUSE_MS = 250;
/** As the server forgives. */
const LEEWAY_S = 5;

/** What the dashboard shows, and how it gets it. */
export interface Access {
  /** The socket's address. */
  readonly url: string;
  readonly token: Token;
  /** One at least. */
  readonly negocios: readonly Negocio[];
  readonly isDemo: boolean;
}

/** The one that is in use, for what lives only while there is one. */
export const ACCESS = new InjectionToken<Access>('ACCESS');

/** What somebody typed, or a link said. */
export interface Entry {
  readonly token: string;
  readonly server: string;
  readonly ids: string;
}

/**
 * `looking`: whether the page's own server is a demo. `entry`: somebody has to sign in. `open`: there is something to show, and what
 * becomes of the connection is the library's business.
 */
export type Phase =
  | { readonly name: 'looking'; readonly failed: boolean }
  | { readonly name: 'entry'; readonly reason?: Word }
  | { readonly name: 'open'; readonly access: Access };

/** Who is signed in. A token stays in the memory of the page. */
@Injectable({ providedIn: 'root' })
export class Session {
  readonly #document = inject(DOCUMENT);
  readonly #phase = signal<Phase>({ name: 'looking', failed: false });
  readonly phase = this.#phase.asReadonly();
  #wake = () => {};

  /** Begins with the token of the address, if it has one; else with a look for a demo. */
  async start(): Promise<void> {
    const entry = this.#entryOfAddress();
    if (!entry) return this.#look();
    const reason = await this.enter(entry);
    if (reason) this.#phase.set({ name: 'entry', reason });
  }

  /** Looks again now. */
  hurry(): void {
    this.#wake();
  }

  /** Leaves, for the form. */
  leave(reason?: Word): void {
    this.#phase.set(reason ? { name: 'entry', reason } : { name: 'entry' });
    this.#wake();
  }

  /** Signs in, or says what is wrong. */
  async enter({ token, server: typed, ids }: Entry): Promise<Word | undefined> {
    const server = serverAddress(typed, this.#page);
    if (!server) return 'refused_address';
    const claims = claimsOf(token);
    if (!claims) return 'refused_token';
    if (isOver(claims.exp)) return 'refused_expired';
    const named = negociosIn(ids);
    const negocios = named.length ? named : claims.ids.map((id) => ({ id, nombre: shortName(id) }));
    const [first] = negocios;
    if (!first) return 'refused_ids';
    const reason = await complaint(server, token, first.id);
    // Of several, one that may not be seen says so where it stands.
    if (reason && !(reason === 'refused_forbidden' && negocios.length > 1)) return reason;
    const url = new URL('ws', server).href;
    this.#phase.set({ name: 'open', access: { url, negocios, isDemo: false, token: keep(token, claims.exp, server, first.id) } });
    return undefined;
  }

  get #page(): string {
    return this.#document.baseURI;
  }

  async #look(): Promise<void> {
    for (let pause = FIRST_PAUSE_MS; this.#phase().name === 'looking'; pause = Math.min(LONGEST_PAUSE_MS, pause * 2)) {
      try {
        const session = await demoSession(this.#page);
        if (this.#phase().name === 'looking') this.#phase.set({ name: 'open', access: this.#demo(session) });
      } catch (error) {
        if (this.#phase().name !== 'looking') return;
        if (error instanceof LatidoError) return this.leave();
        this.#phase.set({ name: 'looking', failed: true });
        await this.#rest(pause * (0.5 + Math.random()));
      }
    }
  }

  #rest(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #demo({ token, negocios }: DemoSession): Access {
    let first: string | undefined = token;
    const page = this.#page;
    const ask: Token = async ({ signal }) => {
      const given = first;
      first = undefined;
      return given ?? (await demoSession(page, signal)).token;
    };
    return { url: new URL('ws', page).href, negocios, isDemo: true, token: ask };
  }

  /** `#token=…&negocios=…&server=…`; it does not stay in the address, nor in the browser's history. */
  #entryOfAddress(): Entry | undefined {
    const { location, history } = this.#document.defaultView ?? {};
    const values = new URLSearchParams(location?.hash.slice(1));
    const token = values.get('token');
    if (!location || !token) return undefined;
    history?.replaceState(null, '', location.pathname + location.search);
    return { token, server: values.get('server') ?? '', ids: values.get('negocios') ?? '' };
  }
}

/** One token for as long as it is good, since there is nobody to ask for another. */
function keep(token: string, exp: number | undefined, server: URL, id: string): Token {
  return async ({ reason }) => {
    // A refused upgrade looks like a dead server; asking the server tells them apart.
    const isRefused = reason === 'refused' && (await complaint(server, token, id)) === 'refused_token';
    if (isRefused || isOver(exp) || reason === 'expiring') throw new LatidoError('unauthorized');
    return token;
  };
}

/** @param exp Unix seconds */
function isOver(exp: number | undefined): boolean {
  return exp !== undefined && exp + LEEWAY_S < Date.now() / 1000;
}
