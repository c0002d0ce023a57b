/** What the server says of one channel alone. The frames are those of the server's own tests. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { connected } from './harness/connected.js';
import { Seen } from './harness/watching.js';

/** Several channels on one open socket, all of them confirmed. */
async function watching(...names: string[]) {
  const all = await connected();
  const seen = names.map((name) => {
    const one = new Seen<{ n: number }>();
    all.latido.watch(name, one);
    return one;
  });
  await Promise.resolve();
  for (const channel of names) all.socket.says({ type: 'subscribed', data: { channel } });
  return { ...all, seen };
}

const unavailable = (channel: string) => ({
  type: 'error',
  data: { code: 'unavailable', message: 'this channel cannot be read now; its numbers follow once it can', channel },
});

describe('a frame', () => {
  it('reaches the watchers of the name that it carries, exactly as they wrote it', async () => {
    const names = ['ventas:7/3?desde=2026-11-01', 'ventas:7/3?hasta=2099-12-31&desde=2026-11-01', 'ventas:7%2F3/1', 'ventas:7/3', 'totales'];
    const { socket, seen } = await watching(...names);
    names.forEach((name, n) => socket.says(`{"type":"ventas","data":{"tienda_id":"7","n":${n},"timestamp":1},"channel":"${name}","v":7}`));
    assert.deepEqual(
      seen.map(({ values }) => values.map(({ n }) => n)),
      names.map((_, n) => [n]),
    );
  });

  it('of a key that is none ends its own watch alone', async () => {
    const { socket, seen, latido } = await watching('ventas:7', 'ventas:7?desde=2026-11-01');
    const message = 'invalid key: desde is missing; expected a date such as 2026-11-30';
    socket.says({ type: 'error', data: { code: 'invalid_key', message, channel: 'ventas:7' } });
    const [bad, good] = seen as [Seen<unknown>, Seen<unknown>];
    assert.deepEqual([bad.states, bad.errors.map(({ code, message }) => [code, message])], [['connecting', 'open', 'closed'], [['invalid_key', message]]]);
    socket.value('ventas:7?desde=2026-11-01', 7);
    assert.deepEqual([good.states, good.errors, good.values.length], [['connecting', 'open'], [], 1]);
    assert.equal(latido.status.state, 'open');
  });

  it('that says that one channel is old marks that one alone', async () => {
    const { socket, seen, latido } = await watching('c:3', 'totales');
    const [one, other] = seen as [Seen<unknown>, Seen<unknown>];
    socket.says('{"type":"status","channel":"c:3","data":{"stale":true,"since":9}}');
    assert.deepEqual(one.statuses.at(-1), { state: 'stale', since: 9 });
    assert.deepEqual([other.states, latido.status.state], [['connecting', 'open'], 'open']);
    socket.says('{"type":"status","channel":"c:3","data":{"stale":false}}');
    assert.deepEqual(one.states, ['connecting', 'open', 'stale', 'open']);
    socket.says('{"type":"status","channel":"nobody:1","data":{"stale":true,"since":9}}');
    assert.deepEqual([other.states, latido.status.state], [['connecting', 'open'], 'open']);
  });

  it('that says that all is old marks all, and leaves what was said of one', async () => {
    const { socket, seen, latido } = await watching('c:3', 'totales');
    const [one, other] = seen as [Seen<unknown>, Seen<unknown>];
    socket.says(unavailable('c:3'));
    socket.says('{"type":"status","data":{"stale":true,"since":9}}');
    assert.deepEqual([one.states.at(-1), other.statuses.at(-1), latido.status], ['stale', { state: 'stale', since: 9 }, { state: 'stale', since: 9 }]);
    socket.says('{"type":"status","data":{"stale":false}}');
    assert.deepEqual([one.states.at(-1), other.states.at(-1), latido.status.state], ['stale', 'open', 'open']);
    socket.value('c:3', 7);
    assert.equal(one.states.at(-1), 'open');
  });

  it('that says that a channel can not be read tells it once, why and since when', async () => {
    const { socket, seen } = await watching('c:3', 'b:2');
    const [one, other] = seen as [Seen<unknown>, Seen<unknown>];
    socket.value('c:3', 7);
    for (let times = 0; times < 3; times++) socket.says(unavailable('c:3'));
    assert.deepEqual(one.states, ['connecting', 'open', 'stale']);
    assert.equal(one.statuses.at(-1)?.error?.code, 'unavailable');
    assert.match(one.statuses.at(-1)!.error!.message, /cannot be read now/);
    socket.says('{"type":"status","channel":"c:3","data":{"stale":true,"since":9}}');
    const { state, since, error } = one.statuses.at(-1)!;
    assert.deepEqual([state, since, error?.code], ['stale', 9, 'unavailable']);
    socket.value('c:3', 7);
    assert.deepEqual(one.statuses.at(-1), { state: 'open' }, 'a frame says that it works again, even if it is the same');
    socket.says(unavailable('c:3'));
    assert.equal(one.states.at(-1), 'stale', 'and another failure is another change');
    assert.deepEqual([one.errors, one.values.length, other.states], [[], 1, ['connecting', 'open']]);
  });

  it('that says «not now» before a channel is confirmed says why nothing comes, once', async () => {
    const { socket, latido, clock } = await connected();
    const seen = new Seen();
    latido.watch('b:2', seen);
    socket.says(unavailable('b:2'));
    await clock.pass(8000);
    socket.says(unavailable('b:2'));
    assert.deepEqual(seen.statuses.map(({ state, error }) => [state, error?.code]), [['connecting', 'unavailable']]);
    socket.says({ type: 'subscribed', data: { channel: 'b:2' } });
    assert.deepEqual(seen.statuses.at(-1), { state: 'open' });
  });

  it('of another kind is no value and changes no state', async () => {
    const { socket, seen } = await watching('c:3');
    socket.value('c:3', 7);
    socket.says(unavailable('c:3'));
    socket.says('{"type":"history","channel":"c:3","data":[{"n":1}]}');
    assert.deepEqual([seen[0]!.values.length, seen[0]!.states.at(-1)], [1, 'stale']);
  });

  it('marks nothing on the next connection', async () => {
    const { socket, seen, sockets, clock } = await watching('totales');
    socket.value('totales', 7);
    socket.says(unavailable('totales'));
    socket.ends(1012);
    await clock.pass(1000);
    sockets.at(-1)!.open().value('totales', 7);
    assert.deepEqual(seen[0]!.states.filter((state) => state === 'stale').length, 1);
    assert.deepEqual(seen[0]!.statuses.at(-1), { state: 'open' });
  });
});
