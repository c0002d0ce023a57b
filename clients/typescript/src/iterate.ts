import type { LatidoError } from './error.js';
import type { Observer } from './types.js';

/** A subscription as an iterator: begun by the first `next`, ended by `return`. Of values that came while nobody asked, the newest is kept. */
export function iterate<T>(watch: (observer: Observer<T>) => () => void): AsyncIterableIterator<T> {
  let newest: { value: T } | undefined;
  let failure: LatidoError | undefined;
  let done = false;
  let stop: (() => void) | undefined;
  let change: Promise<void> | undefined;
  let changed = () => {};
  const wake = () => {
    change = undefined;
    changed();
  };
  const finish = () => {
    done = true;
    stop?.();
    wake();
  };
  const observer: Observer<T> = {
    next(value) {
      newest = { value };
      wake();
    },
    error(error) {
      failure = error;
      finish();
    },
    // With an error, `error` will be called too.
    status(state, { error }) {
      if (state === 'closed' && !error) finish();
    },
  };
  return {
    async next() {
      if (!done) stop ??= watch(observer);
      while (!newest && !done) await (change ??= new Promise((resolve) => (changed = resolve)));
      const result = newest;
      newest = undefined;
      if (result) return { value: result.value, done: false };
      const thrown = failure;
      failure = undefined;
      if (thrown) throw thrown;
      return { value: undefined, done: true };
    },
    async return() {
      newest = undefined;
      finish();
      return { value: undefined, done: true };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
