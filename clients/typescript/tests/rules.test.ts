/** What is decided without a socket or a clock, with generated inputs. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';

import fc from 'fast-check';

import { isFinal, isNewer, reasonOf, retryDelayMs } from '../src/rules.js';

const random = () => fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

describe('the pause before another attempt', () => {
  it('is anything up to a bound that doubles, and never exceeds the longest', () => {
    fc.assert(
      fc.property(fc.nat(2000), random(), (failures, drawn) => {
        const pause = retryDelayMs('lost', failures, drawn);
        assert.ok(pause >= 0 && pause <= Math.min(20_000, 500 * 2 ** failures));
        assert.equal(pause, drawn * retryDelayMs('lost', failures, 1));
        assert.ok(retryDelayMs('lost', failures + 1, drawn) >= pause);
      }),
    );
  });

  it('is longer where the server is busy', () => {
    for (const code of ['overloaded', 'too_many_messages'] as const) assert.equal(retryDelayMs(code, 0, 0), 5000);
  });
});

describe('a frame', () => {
  it('never goes back', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), (version, last) => assert.equal(isNewer(version, last, false), version > last)),
    );
  });

  it('repeated on a new connection is no change, and a clock that was set back does not freeze the screen', () => {
    const now = 1_763_780_000_000_000;
    assert.ok(!isNewer(now, now, true));
    assert.ok(!isNewer(now - 1_000_000, now, true), 'a server that lags a second');
    assert.ok(isNewer(now - 3_600_000_000, now, true), 'a database whose clock is an hour behind');
    assert.ok(!isNewer(now - 3_600_000_000, now, false), 'but within a connection versions rise');
  });
});

describe('a close code', () => {
  it('is answered as the protocol page says', () => {
    const page = readFileSync('../../docs/protocol/websocket.md', 'utf8');
    const rows = [...page.matchAll(/^\| ([\d, ]+) \| .*? \| (yes|no)/gm)];
    assert.ok(rows.length >= 9, 'the table of close codes');
    for (const [, codes, answer] of rows) {
      for (const code of codes!.split(', ')) assert.equal(isFinal(reasonOf(Number(code))), answer === 'no', code);
    }
  });

  it('that is not in the table counts as a lost connection', () => {
    for (const code of [1000, 1001, 1005, 1006, 1011, 3000, 4999]) assert.equal(reasonOf(code), 'lost');
  });
});
