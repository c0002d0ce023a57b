/** Server-Sent Events in the place of a WebSocket, with a server that says what the test wants. */

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';

import { Latido, type LatidoOptions } from 'latido';
import { EventStream } from 'latido/sse';

import { EventServer } from './harness/events.js';
import { until } from './harness/until.js';
import { fast, Seen } from './harness/watching.js';

let server: EventServer;
let latido: Latido;

beforeEach(async () => {
  server = await new EventServer().start();
});
afterEach(() => {
  mock.timers.reset();
  latido.close();
  server.end();
});

function client(options: Partial<LatidoOptions> = {}): Latido {
  return (latido = new Latido(server.url, { token: () => 'a.b.c', WebSocket: EventStream, random: () => 0, ...options }));
}

function watched(channel: string) {
  const seen = new Seen<{ v: number }>();
  return Object.assign(seen, { stop: latido.watch<{ v: number }>(channel, seen) });
}

/** `totales` on an open stream, with a value. */
async function connected(options: Partial<LatidoOptions> = {}) {
  client(options);
  const seen = watched('totales');
  const request = (await server.request(1)).answers();
  request.value('totales', 1);
  await seen.first();
  return { seen, request };
}

/** A token that ends so many seconds from now. */
const token = (s: number) => `a.${Buffer.from(JSON.stringify({ exp: Math.floor(Date.now() / 1000) + s })).toString('base64url')}.c`;

describe('an event stream', () => {
  it('carries all channels over one response, and the token in a header', async () => {
    client();
    const names = ['ventas:7/3?desde=2026-11-01', 'ventas:a%2Fb/ñ+&#', 'totales'];
    const seen = names.map(watched);
    const request = (await server.request(1)).answers();
    assert.deepEqual([request.channels, request.url.pathname, request.token], [names, '/live/events', 'a.b.c']);
    assert.ok(!request.url.href.includes('a.b.c'));
    names.forEach((name, index) => request.value(name, index + 1));
    await Promise.all(seen.map((one) => one.first()));
    assert.deepEqual(
      seen.map(({ values, states }) => [values, states]),
      names.map((_, index) => [[{ v: index + 1 }], ['connecting', 'open']]),
    );
    latido.close();
    await until('the response is left', () => request.isEnded);
    assert.equal(server.requests.length, 1);
  });

  it('is opened anew for another channel, and for one that is left; nobody notices', async () => {
    const { seen, request } = await connected();
    const others = ['ventas:7', 'ventas:8'].map(watched);
    const second = (await server.request(2)).answers();
    assert.deepEqual(second.channels, ['totales', 'ventas:7', 'ventas:8']);
    await until('the first is left', () => request.isEnded);
    // What changed in between is what the server begins with.
    second.value('totales', 2);
    second.value('ventas:7', 2);
    second.value('ventas:8', 2);
    await Promise.all(others.map((one) => one.first()));
    others[0]!.stop();
    const third = (await server.request(3)).answers();
    assert.deepEqual(third.channels, ['totales', 'ventas:8']);
    third.value('totales', 2);
    third.value('ventas:8', 3);
    await others[1]!.another();
    assert.deepEqual([seen.values, seen.states], [[{ v: 1 }, { v: 2 }], ['connecting', 'open']]);
    assert.deepEqual([others[1]!.values, latido.status.state], [[{ v: 2 }, { v: 3 }], 'open']);
  });

  it('that is refused for one channel carries the others', async () => {
    const { seen, request } = await connected();
    const bad = watched('ventas:x');
    const second = (await server.request(2)).answers();
    second.error('ventas:x', 'invalid_key');
    const { error } = await bad.is('closed', 'invalid_key');
    assert.deepEqual([bad.errors, error?.message], [[error], 'invalid_key']);
    second.value('totales', 2);
    await until('the other goes on', () => seen.values.length === 2);
    watched('ventas:7');
    assert.deepEqual((await server.request(3)).channels, ['totales', 'ventas:7'], 'and it is not asked for again');
    assert.deepEqual([seen.states, request.isEnded], [['connecting', 'open'], true]);
  });

  it('that is refused altogether learns the reason of each channel', async () => {
    client();
    const reasons = { 'ventas:x': 'invalid_key', 'nada:1': 'unknown_channel', 'ventas:8': 'forbidden' };
    server.onRequest = (request) => {
      const code = reasons[request.channels[0] as keyof typeof reasons];
      request.refuses(code === 'invalid_key' ? 400 : code === 'forbidden' ? 403 : 404, code, `why: ${code}`);
    };
    const seen = Object.keys(reasons).map(watched);
    for (const [index, code] of Object.values(reasons).entries()) {
      const { error } = await seen[index]!.is('closed', code);
      assert.equal(error?.message, `why: ${code}`);
    }
    assert.deepEqual([server.requests.length, latido.status.state], [3, 'open']);
  });

  it('for too many channels gives up the newest', async () => {
    client();
    server.onRequest = (request) => {
      if (request.channels.length > 2) return request.refuses(400, 'too_many_channels');
      for (const channel of request.answers().channels) request.value(channel, 1);
    };
    const seen = ['a:1', 'b:2', 'c:3'].map(watched);
    await seen[2]!.is('closed', 'too_many_channels');
    await Promise.all(seen.slice(0, 2).map((one) => one.first()));
  });

  it('ends with its last channel, and that is no loss', async () => {
    const { seen, request } = await connected();
    request.error('totales', 'forbidden');
    request.response.end();
    await seen.is('closed', 'forbidden');
    const other = watched('ventas:7');
    const second = (await server.request(2)).answers();
    assert.deepEqual(second.channels, ['ventas:7']);
    second.value('ventas:7', 1);
    await other.first();
    assert.deepEqual(other.states.filter((state) => state !== 'connecting'), ['open']);
  });

  it('marks the channel that can not be read', async () => {
    const { seen, request } = await connected();
    request.error('totales', 'unavailable');
    request.status({ stale: true, since: 9 }, 'totales');
    await until('it is told since when', () => seen.statuses.at(-1)?.since === 9);
    assert.deepEqual([seen.statuses.at(-1)?.state, seen.statuses.at(-1)?.error?.code], ['stale', 'unavailable']);
    assert.equal(latido.status.state, 'open');
    request.value('totales', 2);
    request.status({ stale: false }, 'totales');
    await seen.is('open');
    assert.deepEqual([seen.errors, server.requests.length], [[], 1]);
  });

  it('goes on saying that the database is away, and stops', async () => {
    const { seen, request } = await connected();
    request.status({ stale: true, since: 9 });
    await seen.is('stale');
    const late = watched('ventas:7');
    const second = (await server.request(2)).answers();
    second.value('totales', 1);
    second.status({ stale: true, since: 9 });
    await late.is('stale');
    watched('ventas:8');
    // This one begins when the database is back.
    (await server.request(3)).answers().value('totales', 2);
    await seen.is('open');
    assert.deepEqual(seen.states.filter((state, index, all) => state !== all[index - 1]), ['connecting', 'open', 'stale', 'open']);
  });
});

describe('the end of an event stream', () => {
  it('says why, and is followed by another', async () => {
    const { seen, request } = await connected({ clock: fast(10) });
    request.restarts();
    await seen.was('connecting', 'restarting');
    const second = (await server.request(2)).answers();
    second.value('totales', 1);
    await seen.is('open');
    second.response.destroy();
    await seen.was('connecting', 'lost');
    (await server.request(3)).refuses(503, 'draining');
    await seen.was('connecting', 'overloaded');
    (await server.request(4)).refuses(429, 'user_limit');
    await seen.was('connecting', 'too_many_messages');
    (await server.request(5)).answers().value('totales', 2);
    await seen.is('open');
    assert.deepEqual([seen.values, seen.errors], [[{ v: 1 }, { v: 2 }], []]);
  });

  it('by a refused token asks for another', async () => {
    const reasons: string[] = [];
    const { seen, request } = await connected({ token: ({ reason }) => (reasons.push(reason), `token.${reasons.length}`) });
    request.response.end();
    (await server.request(2)).refuses(401, 'unauthorized');
    const third = (await server.request(3)).answers();
    third.value('totales', 2);
    await seen.is('open');
    assert.deepEqual([reasons, third.token, seen.errors], [['connect', 'refused'], 'token.2', []]);
  });

  it('is final where coming back would not help', async () => {
    client({ token: 'a.b.c' });
    const seen = watched('totales');
    (await server.request(1)).refuses(401, 'unauthorized');
    await seen.is('closed', 'unauthorized');
    latido.reconnect();
    (await server.request(2)).refuses(403, 'origin');
    await seen.is('closed', 'forbidden');
    latido.reconnect();
    (await server.request(3)).refuses(431, 'too_large');
    await seen.is('closed', 'too_big');
    assert.equal(seen.errors.length, 3);
  });

  it('is noticed when nothing comes any more, not even a comment', async () => {
    client();
    const socket = new EventStream(server.url, ['bearer', 'a.b.c']);
    const heard: string[] = [];
    socket.onmessage = ({ data }) => heard.push(JSON.parse(data).type);
    /** Whether it answers that it lives. */
    const lives = () => {
      heard.length = 0;
      socket.send('{"type":"ping"}');
      return heard.includes('pong');
    };
    assert.ok(lives(), 'nothing is wanted yet');
    socket.send('{"type":"subscribe","data":{"channel":"totales"}}');
    const request = await server.request(1);
    assert.ok(!lives(), 'a request without an answer');
    request.answers().value('totales', 1);
    await until('a value comes', () => heard.includes('ventas'));
    mock.timers.enable({ apis: ['Date'], now: Date.now() });
    mock.timers.tick(15_000);
    assert.ok(lives());
    mock.timers.tick(15_000);
    assert.ok(!lives());
    request.response.write(':\n\n');
    await until('a comment shows that it lives', lives);
    mock.timers.reset();
    socket.close();
    await until('it is left', () => request.isEnded);
  });
});

describe('the token of an event stream', () => {
  it('is renewed a minute before it ends, by another request', async () => {
    const reasons: string[] = [];
    const { seen } = await connected({
      clock: fast(10),
      token: ({ reason }) => (reasons.push(reason), token(reason === 'connect' ? 62 : 3600)),
    });
    const second = (await server.request(2)).answers();
    second.value('totales', 2);
    await until('it goes on', () => seen.values.length === 2);
    assert.deepEqual([reasons, seen.states], [['connect', 'expiring'], ['connecting', 'open']]);
    assert.notEqual(second.token, server.requests[0]!.token);
  });

  it('that does not say when it ends, or should have ended, is used while it works', async () => {
    for (const text of [token(-3600), 'opaque', 'a.!.c', token(86_400 * 365)]) {
      let asked = 0;
      const { seen, request } = await connected({ token: () => (asked++, text) });
      request.value('totales', 2);
      await until('it goes on', () => seen.values.length === 2);
      assert.deepEqual([asked, request.isEnded], [1, false], text);
      latido.close();
      server.end();
      server = await new EventServer().start();
    }
  });

  it('that can be none ends it', async () => {
    client({ token: 'a\nb' });
    const seen = watched('totales');
    await seen.is('closed', 'token');
    assert.equal(server.requests.length, 0);
  });
});
