/** What is decided without a socket or a clock. */

import type { ErrorCode } from './error.js';

const REASONS: Record<number, ErrorCode> = {
  1002: 'protocol',
  1003: 'protocol',
  1007: 'protocol',
  1009: 'too_big',
  1012: 'restarting',
  1013: 'overloaded',
  4401: 'unauthorized',
  4403: 'forbidden',
  4408: 'silent',
  4413: 'too_slow',
  4429: 'too_many_messages',
};

/** What a close code is called. Codes that mean nothing here are a lost connection. */
export function reasonOf(closeCode: number): ErrorCode {
  return REASONS[closeCode] ?? 'lost';
}

/** Whether to come back would only lead to the same end. */
export function isFinal(reason: ErrorCode): boolean {
  return /^(protocol|too_big|forbidden)$/.test(reason);
}

/** The least pause before a busy server is asked again, in ms. */
export const BUSY_MS = 5000;
/** The longest first pause before another attempt, and the longest ever, in ms. */
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 20_000;

/**
 * The pause before another attempt, in ms. «Full jitter»: anything from 0 to a bound that doubles with every failure, so that many who
 * were cut off together don't return together; and all of it later to a server that is busy.
 *
 * @param random from 0 to 1
 */
export function retryDelayMs(reason: ErrorCode, failures: number, random: number): number {
  // `overloaded` and `too_many_messages`.
  const isBusy = /load|many/.test(reason);
  return (isBusy ? BUSY_MS : 0) + random * Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures);
}

/** A minute, in the unit of versions: microseconds. */
const CLOCK_SET_BACK = 60_000_000;

/**
 * Whether a frame goes forward. Versions are the database's clock, and only rise; but a database that was moved to a machine whose clock
 * is behind would leave a screen frozen until the clock has caught up. So the `first` frame of a connection may be older by more than
 * any other server of the same database could be.
 */
export function isNewer(version: number, last: number, first: boolean): boolean {
  return version > last || (first && version < last - CLOCK_SET_BACK);
}
