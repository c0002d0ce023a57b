/** Moments that a real server gives rarely: the socket is a fake, and so is time. */

import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';

import fc from 'fast-check';
import { Latido } from 'latido';

import { connected, fake, URL } from './harness/connected.js';
import { type FakeSocket, settled } from './harness/fake.js';
import { Seen } from './harness/watching.js';

const newest = (sockets: FakeSocket[]) => sockets.at(-1)!;

describe('a socket', () => {
  it('is made by the first watch, and carries the token as a subprotocol', async () => {
    const { latido, sockets, clock, seen } = fake();
    assert.equal(clock.waiting, 0);
    latido.watch('a:1', seen);
    await settled();
    assert.deepEqual([newest(sockets).url, newest(sockets).protocols], [URL, ['bearer', 'a.b.c']]);
    latido.close();
    assert.equal(clock.waiting, 0, 'nothing is left behind');
    assert.ok(newest(sockets).isClosed);
  });

  it('may be named by an http address, and not by nonsense', () => {
    assert.throws(() => new Latido('nonsense', { token: 'x' }), TypeError);
    for (const url of ['http://a/ws', 'https://a/ws']) assert.ok(new Latido(url, { token: 'x' }));
  });

  it('is asked whether it lives only when it is silent', async () => {
    const { socket, clock, seen } = await connected();
    const pings = () => socket.sent.filter(({ type }) => type === 'ping').length;
    await clock.pass(14_000);
    socket.value('a:1', 1);
    await clock.pass(14_000);
    assert.equal(pings(), 0);
    await clock.pass(2000);
    assert.equal(pings(), 1);
    socket.says({ type: 'pong' });
    await clock.pass(14_000);
    assert.deepEqual(seen.states, ['connecting', 'open']);
    await clock.pass(7000);
    assert.equal(seen.statuses.at(-1)?.error?.code, 'silent');
  });

  it('comes back less and less often until the server does what it is for', async () => {
    const { sockets, clock, seen } = await connected();
    const pauses: number[] = [];
    for (let failures = 0; failures < 8; failures++) {
      const had = sockets.length;
      newest(sockets).ends(1006);
      const from = clock.performance.now();
      while (sockets.length === had) await clock.pass(50);
      pauses.push(clock.performance.now() - from);
      newest(sockets).onopen?.({});
    }
    assert.deepEqual(pauses, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    newest(sockets).says({ type: 'subscribed', data: { channel: 'a:1' } });
    newest(sockets).ends(1012);
    await clock.pass(250);
    assert.equal(sockets.length, 10);
    assert.deepEqual(seen.errors, []);
  });

  it('stays away for good where the server says so, until it is told to come back', async () => {
    for (const [code, reason] of [
      [4403, 'forbidden'],
      [1009, 'too_big'],
      [1002, 'protocol'],
    ] as const) {
      const { latido, sockets, clock, seen, socket } = await connected();
      socket.ends(code);
      assert.deepEqual([seen.states.at(-1), seen.errors.length, seen.errors[0]?.code], ['closed', 1, reason]);
      await clock.pass(3_600_000);
      assert.deepEqual([sockets.length, clock.waiting], [1, 0]);
      latido.reconnect();
      await settled();
      newest(sockets).open();
      assert.deepEqual([sockets.length, seen.states.at(-1)], [2, 'open']);
    }
  });

  it('is left when an answer in place of one has no end', async () => {
    const { sockets, clock, latido, seen } = fake();
    latido.watch('a:1', seen);
    await clock.pass(11_000);
    assert.equal(seen.statuses.at(-1)?.error?.code, 'timeout');
    assert.equal(sockets.length, 2);
    assert.ok(sockets[0]!.isClosed);
  });

  it('is missing in a runtime that has none', async () => {
    const { WebSocket } = globalThis;
    Object.assign(globalThis, { WebSocket: undefined });
    const seen = new Seen();
    new Latido(URL, { token: 'x' }).watch('a:1', seen);
    await settled();
    Object.assign(globalThis, { WebSocket });
    assert.equal(seen.errors[0]?.code, 'no_websocket');
  });

  it('takes no text for a token that is none', async () => {
    class Picky {
      constructor() {
        throw new SyntaxError('no token');
      }
    }
    const { latido, seen } = fake({ token: 'a b', WebSocket: Picky as never });
    latido.watch('a:1', seen);
    await settled();
    assert.equal(seen.errors[0]?.code, 'token');
    assert.ok(seen.errors[0]?.cause instanceof SyntaxError);
  });
});

describe('frames', () => {
  it('that are not newer are dropped, in every order', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 40 }), fc.nat(40), async (versions, cutAt) => {
        const { sockets, clock, seen } = await connected();
        for (const [index, version] of versions.entries()) {
          if (index === cutAt) {
            newest(sockets).ends(1006);
            await clock.pass(1000);
            newest(sockets).open();
          }
          newest(sockets).value('a:1', version);
        }
        const rising = versions.filter((version, index) => versions.slice(0, index).every((before) => before < version));
        assert.deepEqual(seen.values.map(({ v }) => v), rising);
      }),
      { numRuns: 50 },
    );
  });

  it('of an unknown kind, and what is none, are ignored', async () => {
    const { socket, seen } = await connected();
    for (const text of ['', '{', 'null', '1', '[]', '{}', '{"type":"new"}', '{"type":"error","data":{"code":"bad_message"}}']) socket.says(text);
    socket.value('b:2', 1);
    socket.value('a:1', 1);
    assert.deepEqual(seen.values, [{ v: 1 }]);
    assert.deepEqual(seen.states, ['connecting', 'open']);
  });

  it('say that numbers are old, and since when', async () => {
    const { socket, seen, latido } = await connected();
    socket.says({ type: 'status', data: { stale: true, since: 7 } });
    assert.deepEqual(seen.statuses.at(-1), { state: 'stale', since: 7 });
    assert.deepEqual(latido.status, { state: 'stale', since: 7 });
    socket.says({ type: 'status', data: { stale: false } });
    assert.deepEqual(seen.states, ['connecting', 'open', 'stale', 'open']);
  });

  it('that refuse a channel take its value away', async () => {
    const { socket, seen, latido, clock, stop } = await connected();
    socket.value('a:1', 1);
    socket.says({ type: 'error', data: { code: 'forbidden', message: 'not yours', channel: 'a:1' } });
    assert.deepEqual([seen.errors[0]?.code, seen.errors[0]?.message], ['forbidden', 'not yours']);
    assert.equal(latido.last('a:1'), undefined);
    stop();
    await clock.pass(2000);
    assert.ok(!socket.sent.some(({ type }) => type === 'unsubscribe'), 'there is nothing to leave');
  });

  it('that say that a channel can not be read mark it until its next value', async () => {
    const { socket, seen, clock, latido } = await connected();
    const others: string[] = [];
    socket.value('a:1', 1);
    latido.watch('b:2', { status: (state) => others.push(state) });
    socket.says({ type: 'subscribed', data: { channel: 'b:2' } });
    socket.says({ type: 'error', data: { code: 'unavailable', message: 'later', channel: 'a:1' } });
    assert.equal(seen.states.at(-1), 'stale');
    socket.says({ type: 'subscribed', data: { channel: 'a:1' } });
    assert.equal(seen.states.at(-1), 'stale');
    socket.value('a:1', 2);
    assert.equal(seen.states.at(-1), 'open');
    await clock.pass(8000);
    assert.ok(!others.includes('stale'), 'other channels are not concerned');
    assert.deepEqual(seen.errors, []);
    assert.equal(socket.sent.filter(({ type }) => type === 'subscribe').length, 2, 'and nothing is asked again');
  });

  it('that say «not now» are followed by another question', async () => {
    const { socket, seen, clock, latido } = await connected();
    const asked = () => socket.sent.filter(({ type, data }) => type === 'subscribe' && data.channel === 'b:2').length;
    latido.watch('b:2', {});
    socket.says({ type: 'error', data: { code: 'unavailable', message: 'later', channel: 'b:2' } });
    socket.says({ type: 'error', data: { code: 'rate_limited', message: 'too fast' } });
    assert.equal(asked(), 1);
    await clock.pass(8000);
    assert.equal(asked(), 2);
    assert.equal(socket.sent.filter(({ type }) => type === 'subscribe').length, 3, 'and for that one alone');
    assert.deepEqual(seen.errors, []);
  });
});

describe('watchers', () => {
  it('may leave, come and fail while they are told', async () => {
    const { latido, socket } = await connected();
    const calls: string[] = [];
    const failures: unknown[] = [];
    // The test runner's own would take it for a failure of the test.
    const others = process.listeners('unhandledRejection');
    process.removeAllListeners('unhandledRejection').on('unhandledRejection', (reason) => failures.push(reason));
    latido.watch('a:1', {
      next() {
        calls.push('first');
        leave();
        latido.watch('a:1', { next: () => calls.push('new') });
        throw new Error('a mistake of the application');
      },
    });
    const leave = latido.watch('a:1', { next: () => calls.push('left') });
    latido.watch('a:1', { next: () => calls.push('last') });
    await settled();
    socket.value('a:1', 1);
    await settled();
    process.removeAllListeners('unhandledRejection');
    for (const other of others) process.on('unhandledRejection', other);
    assert.deepEqual(calls, ['first', 'last', 'new']);
    assert.equal(failures.length, 1);
  });

  it('share one subscription however they come and go', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(2), fc.boolean(), fc.nat(1500)), { maxLength: 30 }), async (moves) => {
        const { latido, sockets, clock } = fake();
        latido.watch('always:0', {});
        await settled();
        const socket = sockets[0]!.open();
        const present: (() => void)[][] = [[], [], []];
        const held = new Set<string>();
        for (const [topic, comes, pause] of moves) {
          if (comes) present[topic]!.push(latido.watch(`t:${topic}`, {}));
          else present[topic]!.pop()?.();
          await clock.pass(pause);
        }
        await clock.pass(1000);
        for (const { type, data } of socket.sent) {
          const name = data?.channel;
          if (type === 'subscribe') assert.ok(!held.has(name) && held.add(name), 'never twice');
          if (type === 'unsubscribe') assert.ok(held.delete(name), 'never what is not held');
        }
        const wanted = present.flatMap((all, topic) => (all.length ? [`t:${topic}`] : []));
        assert.deepEqual([...held].sort(), ['always:0', ...wanted].sort());
        latido.close();
        assert.equal(clock.waiting <= 3, true);
      }),
      { numRuns: 50 },
    );
  });
});

describe('an iterator', () => {
  it('keeps the newest value alone, and answers everyone who asks', async () => {
    const { latido, sockets } = fake();
    const loop = latido.watch<{ v: number }>('a:1');
    const asked = [loop.next(), loop.next()];
    await settled();
    const socket = sockets[0]!.open();
    socket.value('a:1', 1);
    await settled();
    socket.value('a:1', 2);
    assert.deepEqual((await Promise.all(asked)).map(({ value }) => value.v), [1, 2]);
    for (const v of [3, 4, 5]) socket.value('a:1', v);
    assert.deepEqual((await loop.next()).value, { v: 5 });
    const waiting = loop.next();
    await loop.return!();
    assert.deepEqual(await waiting, { value: undefined, done: true });
    assert.equal((await loop.next()).done, true);
  });
});

describe('a page', () => {
  const page = new EventTarget();
  const tell = (name: string, hidden = false) => {
    Object.assign(globalThis, { document: { hidden } });
    page.dispatchEvent(new Event(name));
  };
  const there = {
    addEventListener: page.addEventListener.bind(page),
    removeEventListener: page.removeEventListener.bind(page),
  };
  afterEach(() => {
    for (const name of [...Object.keys(there), 'document']) delete (globalThis as any)[name];
  });

  it('that loads makes one socket', async () => {
    Object.assign(globalThis, there);
    const { latido, sockets, seen } = fake();
    latido.watch('a:1', seen);
    tell('pageshow');
    tell('visibilitychange');
    await settled();
    tell('pageshow');
    tell('visibilitychange');
    await settled();
    assert.equal(sockets.length, 1);
    latido.close();
  });

  it('that goes offline says so, and is back at once', async () => {
    Object.assign(globalThis, there);
    const { sockets, seen, socket, clock, latido } = await connected({ random: () => 1 });
    tell('offline');
    assert.equal(seen.statuses.at(-1)?.error?.code, 'offline');
    assert.ok(socket.isClosed);
    tell('online');
    await settled();
    assert.equal(sockets.length, 2);
    newest(sockets).open();
    assert.equal(seen.states.at(-1), 'open');
    tell('visibilitychange', true);
    assert.equal(newest(sockets).sent.length, 1);
    tell('visibilitychange');
    assert.equal(newest(sockets).sent.at(-1).type, 'ping', 'whether it still lives is asked at once');
    await clock.pass(6000);
    assert.equal(seen.statuses.at(-1)?.error?.code, 'silent');
    latido.close();
    tell('online');
    await settled();
    assert.equal(sockets.length, 3, 'who is closed listens no more');
  });

  it('keeps no socket in the memory of the browser, and has one when it returns', async () => {
    Object.assign(globalThis, there);
    const { sockets, seen, socket, latido } = await connected();
    tell('pagehide');
    assert.ok(socket.isClosed);
    tell('visibilitychange');
    await settled();
    newest(sockets).open();
    assert.deepEqual([sockets.length, seen.states.at(-1)], [2, 'open']);
    latido.close();
  });
});
