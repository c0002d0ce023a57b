/** What an Engine.IO server of protocol 4 must do, asked of `examples/engineio_echo.rs`: the real accept loop, the real layer. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Program } from '../harness/program.mjs';
import { Wire } from '../harness/wire.mjs';

const INTERVAL_MS = 300;
/** Long enough for this process to answer a ping on a busy machine. */
const TIMEOUT_MS = 2000;
const KEYS = ['maxPayload', 'pingInterval', 'pingTimeout', 'sid', 'upgrades'];

let server;
let http;
let ws;

before(async () => {
  server = new Program('examples/engineio_echo', ['0'], { PING_TIMEOUT_MS: String(TIMEOUT_MS) });
  const port = await server.says(/listening on port (\d+)/);
  http = `http://127.0.0.1:${port}/engine.io/`;
  ws = http.replace('http', 'ws');
  await server.answers(http);
});

after(() => server.end());

const polling = (sid = '') => `${http}?EIO=4&transport=polling${sid && `&sid=${sid}`}`;
const socket = (sid = '') => `${ws}?EIO=4&transport=websocket${sid && `&sid=${sid}`}`;
const post = (sid, body) => fetch(polling(sid), { method: 'POST', body });
const poll = async (sid) => (await fetch(polling(sid))).text();

async function open() {
  const text = await (await fetch(polling())).text();
  return JSON.parse(text.slice(1)).sid;
}

describe('handshake', () => {
  for (const path of ['/engine.io/', '/socket.io/']) {
    test(`a session is opened by polling ${path}`, async () => {
      const response = await fetch(polling().replace('/engine.io/', path));
      const text = await response.text();
      const { sid, ...rest } = JSON.parse(text.slice(1));
      assert.equal(response.status, 200);
      assert.equal(text[0], '0');
      assert.equal(typeof sid, 'string');
      assert.deepEqual(rest, { upgrades: ['websocket'], pingInterval: INTERVAL_MS, pingTimeout: TIMEOUT_MS, maxPayload: 1000000 });
    });
  }

  test('a session is opened by WebSocket', async () => {
    const wire = new Wire(socket());
    const opened = await wire.next();
    const packet = JSON.parse(opened.slice(1));
    assert.equal(opened[0], '0');
    assert.deepEqual(Object.keys(packet).sort(), KEYS);
    assert.deepEqual(packet.upgrades, []);
    assert.equal(packet.maxPayload, 1000000);
    wire.close();
  });

  for (const [why, query, code] of [
    ['no version', 'transport=polling', 5],
    ['another version', 'EIO=abc&transport=polling', 5],
    ['no transport', 'EIO=4', 0],
    ['an unknown transport', 'EIO=4&transport=abc', 0],
    ['an unknown session', 'EIO=4&transport=polling&sid=abc', 1],
    ['a session of another server', 'EIO=4&transport=polling&sid=AAAAAAAAAAAAAAHs', 1],
  ]) {
    test(`400 for ${why}`, async () => {
      const response = await fetch(`${http}?${query}`);
      assert.equal(response.status, 400);
      assert.equal((await response.json()).code, code);
    });
  }

  for (const method of ['POST', 'PUT', 'DELETE']) {
    test(`400 for ${method} without a session`, async () => {
      const response = await fetch(polling(), { method });
      assert.deepEqual([response.status, (await response.json()).code], [400, 2]);
    });
  }

  test('400 for a WebSocket of another version or transport', async () => {
    for (const query of ['transport=websocket', 'EIO=abc&transport=websocket', 'EIO=4', 'EIO=4&transport=abc']) {
      assert.equal((await Wire.refusal(`${ws}?${query}`)).status, 400, query);
    }
  });

  test('a WebSocket without its headers is asked for them', async () => {
    const response = await fetch(socket().replace('ws', 'http'));
    assert.equal(response.status, 426);
    await response.arrayBuffer();
  });
});

describe('message', () => {
  for (const [what, body] of [
    ['a text', '4hello'],
    ['several texts', '4test1\x1e4test2\x1e4test3'],
    ['text and binary', '4hello\x1ebAQIDBA=='],
    ['text that is not ASCII', '4¿qué tal, niño? 🫀'],
  ]) {
    test(`polling: ${what}`, async () => {
      const sid = await open();
      const posted = await post(sid, body);
      assert.deepEqual([posted.status, await posted.text()], [200, 'ok']);
      assert.equal(await poll(sid), body);
    });
  }

  test('polling: what is no packet closes the session', async () => {
    const sid = await open();
    assert.equal((await post(sid, 'abc')).status, 400);
    assert.equal((await fetch(polling(sid))).status, 400);
  });

  test('polling: two polls at once close the session', async () => {
    for (let tries = 1; ; tries++) {
      const sid = await open();
      // Two connections: either may be the first.
      const answers = await Promise.all([fetch(polling(sid)), fetch(polling(sid))]);
      const [waiting, refused] = answers.sort((one, other) => one.status - other.status);
      // On a busy machine the first may have ended, with a ping, before the second came.
      if (refused.status === 200 && tries < 20) continue;
      assert.equal(await waiting.text(), '1');
      assert.equal(refused.status, 400);
      return assert.equal((await fetch(polling(sid))).status, 400);
    }
  });

  test('polling: a body over maxPayload is refused', async () => {
    const sid = await open();
    assert.equal((await post(sid, `4${'x'.repeat(1_000_001)}`)).status, 413);
  });

  test('WebSocket: text and binary', async () => {
    const wire = new Wire(socket());
    await wire.next();
    wire.send('4hello');
    assert.equal(await wire.next(), '4hello');
    wire.send(Buffer.from([1, 2, 3, 4]));
    assert.deepEqual(await wire.said(), Buffer.from([1, 2, 3, 4]));
    wire.close();
  });

  test('WebSocket: what is no packet closes the session', async () => {
    const wire = new Wire(socket());
    await wire.next();
    wire.send('abc');
    await wire.closed;
  });
});

describe('heartbeat', () => {
  test('polling: the first ping comes after the interval, and each is answered', async () => {
    const sid = await open();
    for (let i = 0; i < 3; i++) {
      assert.equal(await poll(sid), '2');
      assert.equal((await post(sid, '3')).status, 200);
    }
  });

  test('polling: no answer closes the session', async () => {
    const sid = await open();
    assert.equal(await poll(sid), '2');
    assert.equal(await poll(sid), '1');
    assert.equal((await fetch(polling(sid))).status, 400);
  });

  test('WebSocket: each ping is answered', async () => {
    const wire = new Wire(socket());
    await wire.next();
    for (let i = 0; i < 3; i++) {
      assert.equal(await wire.next(), '2');
      wire.send('3');
    }
    wire.close();
  });

  test('WebSocket: no answer closes the session, after interval and time-out', async () => {
    const since = Date.now();
    const wire = new Wire(socket());
    await wire.closed;
    assert.ok(Date.now() - since >= INTERVAL_MS + TIMEOUT_MS - 10);
  });
});

describe('close', () => {
  test('polling: the waiting poll ends with a noop', async () => {
    for (let tries = 1; ; tries++) {
      const sid = await open();
      const waiting = poll(sid);
      await post(sid, '1');
      const text = await waiting;
      assert.equal((await fetch(polling(sid))).status, 400);
      // Two connections: the close may have overtaken the poll, which was then none that waited.
      if (tries === 20 || !text.includes('unknown')) return assert.equal(text, '6');
    }
  });

  test('WebSocket', async () => {
    const wire = new Wire(socket());
    await wire.next();
    wire.send('1');
    await wire.closed;
  });
});

describe('upgrade', () => {
  async function probed(sid) {
    const wire = new Wire(socket(sid));
    await wire.opened;
    wire.send('2probe');
    assert.equal(await wire.next(), '3probe');
    return wire;
  }

  test('from polling to a WebSocket', async () => {
    const sid = await open();
    const wire = await probed(sid);
    assert.equal(await poll(sid), '6');
    wire.send('5');
    wire.send('4hello');
    assert.equal(await wire.said(), '4hello');
    wire.close();
  });

  test('afterwards polls and other WebSockets of the session are refused, and it lives on', async () => {
    const sid = await open();
    const wire = await probed(sid);
    wire.send('5');
    wire.send('4one');
    assert.equal(await wire.said(), '4one');
    assert.equal((await fetch(polling(sid))).status, 400);
    await new Wire(socket(sid)).closed;
    wire.send('4two');
    assert.equal(await wire.said(), '4two');
    wire.close();
  });

  test('one that breaks off leaves the session polling', async () => {
    const sid = await open();
    const wire = await probed(sid);
    wire.kill();
    await post(sid, '4hello');
    const packets = [];
    while (!packets.includes('4hello')) packets.push(...(await poll(sid)).split('\x1e'));
  });

  test('without a probe', async () => {
    const sid = await open();
    const wire = new Wire(socket(sid));
    await wire.opened;
    wire.send('5');
    wire.send('4hello');
    assert.equal(await wire.said(), '4hello');
    wire.close();
  });

  test('a WebSocket of an unknown session is closed', async () => {
    await new Wire(socket('AAAAAAAAAAAAAAHs')).closed;
  });
});

test('every answer tells a browser that it may read it', async () => {
  for (const url of [polling(), `${http}?EIO=4`]) {
    const response = await fetch(url, { headers: { origin: 'https://panel.example' } });
    assert.equal(response.headers.get('access-control-allow-origin'), '*');
    await response.arrayBuffer();
  }
});
