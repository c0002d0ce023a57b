import type { LatidoError } from './error.js';
import type { Observer } from './types.js';

/** A subscription as an iterator: begun by the first `next`, ended by `return`. Of values that came while nobody asked, the newest is kept. */
export function iterate<T>(watch: (observer: Observer<T>) => () => void): AsyncIterableIterator<T> {
  let newest: { value: T; done: false } | undefined;
  let failure: LatidoError | undefined;
  let isDone = false;
  let stop: (() => void) | undefined;
  let change: Promise<void> | undefined;
  let changed = () => {};
  const wake = () => {
    change = undefined;
    changed();
  };
  const finish = (error?: LatidoError) => {
    isDone = true;
    failure = error;
    stop?.();
    wake();
  };
  const observer: Observer<T> = {
    next(value) {
      newest = { value, done: false };
      wake();
    },
    status(state, { error }) {
      if (state === 'closed') finish(error);
    },
  };
  return {
    async next() {
      if (!isDone) stop ??= watch(observer);
      while (!newest && !isDone) await (change ??= new Promise((resolve) => (changed = resolve)));
      const result = newest;
      newest = undefined;
      if (!result && failure) throw failure;
      return result ?? { value: undefined, done: true };
    },
    return() {
      newest = undefined;
      finish();
      return this.next();
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
