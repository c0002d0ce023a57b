/** The recipe of docs/guides/rxjs.md, as it stands there, with the real RxJS, a simulated clock and simulated sockets. */

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { after, before, describe, it, mock } from 'node:test';

import { transform } from 'esbuild';

const CHANNEL = 'estadisticas:X';

/** A socket that the test opens and closes. */
class FakeSocket {
  static all: FakeSocket[] = [];
  readyState = 0;
  onopen?: (event: object) => void;
  onclose?: (event: object) => void;
  onmessage?: (event: { data: string }) => void;

  constructor() {
    FakeSocket.all.push(this);
  }

  send() {}

  close() {}

  /** Accepts the connection, and perhaps sends a frame. */
  open(total?: number) {
    this.readyState = 1;
    this.onopen?.({ type: 'open' });
    if (total === undefined) return;
    this.onmessage?.({ data: JSON.stringify({ type: 'stats', channel: CHANNEL, data: { total } }) });
  }

  end(wasClean: boolean) {
    this.readyState = 3;
    this.onclose?.({ type: 'close', code: wasClean ? 1000 : 1006, wasClean });
  }
}

type Recipe = (negocio: string) => { subscribe(next: (data: { total: number }) => void): { unsubscribe(): void } };

/** Reads the recipe from the page. */
async function loadRecipe(): Promise<Recipe> {
  const page = readFileSync('../../docs/guides/rxjs.md', 'utf8');
  const block = /```ts\n([\s\S]*?)```/.exec(page)?.[1];
  assert.ok(block, 'the page has a block of TypeScript');
  const { code } = await transform(`${block}\nexport { stats };`, { loader: 'ts' });
  mkdirSync('build', { recursive: true });
  writeFileSync('build/rxjs-recipe.mjs', code);
  return ((await import(pathToFileURL('build/rxjs-recipe.mjs').href)) as { stats: Recipe }).stats;
}

/** The timers of RxJS, which uses intervals for all of them. Those of node's own mock go on after their callback cleared them. */
class Clock {
  #now = 0;
  #next = 1;
  #timers = new Map<number, { at: number; run: () => void }>();

  readonly setInterval = (callback: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) => {
    const id = this.#next++;
    const again = () => {
      this.#timers.set(id, { at: this.#now + ms, run: () => (again(), callback(...args)) });
    };
    again();
    return id;
  };

  readonly clearInterval = (id: number) => void this.#timers.delete(id);

  /** Lets the time pass until the recipe opens another socket. Returns the milliseconds. */
  gap(): number {
    const [known, start] = [FakeSocket.all.length, this.#now];
    while (FakeSocket.all.length === known) {
      const [due] = [...this.#timers.values()].sort((a, b) => a.at - b.at);
      assert.ok(due, 'another attempt is planned');
      this.#now = due.at;
      due.run();
    }
    return this.#now - start;
  }
}

describe('the RxJS recipe', () => {
  const clock = new Clock();
  const { setInterval, clearInterval } = globalThis;
  let stats: Recipe;

  before(async () => {
    stats = await loadRecipe();
    Object.assign(globalThis, { WebSocket: FakeSocket, auth: { token: () => 'a.b.c' } });
    Object.assign(globalThis, { setInterval: clock.setInterval, clearInterval: clock.clearInterval });
    mock.method(Math, 'random', () => 0.99);
  });

  after(() => {
    Object.assign(globalThis, { setInterval, clearInterval });
    mock.restoreAll();
  });

  for (const [kind, wasClean] of [
    ['clean', true],
    ['broken', false],
  ] as const) {
    it(`comes back soon after every ${kind} close of a connection that worked`, () => {
      const seen: number[] = [];
      const subscription = stats('X').subscribe(({ total }) => seen.push(total));
      const gaps = Array.from({ length: 10 }, (_, total) => {
        const socket = FakeSocket.all.at(-1)!;
        socket.open(total);
        socket.end(wasClean);
        return Math.round(clock.gap());
      });
      subscription.unsubscribe();
      assert.deepEqual(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
      assert.deepEqual([...new Set(gaps)], [990]);
    });

    it(`waits longer while connections end ${kind} without a frame, and no longer than 20 s`, () => {
      const subscription = stats('X').subscribe(() => {});
      const gaps = Array.from({ length: 8 }, () => {
        const socket = FakeSocket.all.at(-1)!;
        socket.open();
        socket.end(wasClean);
        return Math.round(clock.gap());
      });
      subscription.unsubscribe();
      assert.deepEqual(gaps, [990, 1980, 3960, 7920, 15840, 19800, 19800, 19800]);
    });
  }
});
