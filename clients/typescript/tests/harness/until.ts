import { setTimeout as pause } from 'node:timers/promises';

/** Longest time that anything may take before the test gives up, in ms; nothing waits that long when all is well. */
const PATIENCE_MS = 120_000;

/** Waits for a condition, and says which one did not come true. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await pause(10);
  }
}
