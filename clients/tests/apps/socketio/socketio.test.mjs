/** What a Socket.IO server of protocol 5 must do, asked of `examples/socketio_echo.rs`: the real accept loop, the real layer. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Program } from '../harness/program.mjs';
import { Wire } from '../harness/wire.mjs';

let server;
let http;

before(async () => {
  server = new Program('examples/socketio_echo', ['0']);
  const port = await server.says(/listening on port (\d+)/);
  http = `http://127.0.0.1:${port}/socket.io/`;
  await server.answers(http);
});

after(() => server.end());

function wire() {
  return new Wire(`${http.replace('http', 'ws')}?EIO=4&transport=websocket`);
}

/** On the main namespace, behind its `auth` event. */
async function connected() {
  const line = wire();
  assert.equal((await line.next())[0], '0');
  line.send('40');
  assert.match(await line.said(), /^40\{"sid":/);
  assert.equal(await line.said(), '42["auth",{}]');
  return line;
}

describe('connect', () => {
  for (const [what, packet, answer, auth] of [
    ['the main namespace', '40', '40', '42["auth",{}]'],
    ['with a payload', '40{"token":"123"}', '40', '42["auth",{"token":"123"}]'],
    ['another namespace', '40/custom,', '40/custom,', '42/custom,["auth",{}]'],
    ['another, with a payload', '40/custom,{"token":"abc"}', '40/custom,', '42/custom,["auth",{"token":"abc"}]'],
  ]) {
    test(what, async () => {
      const line = wire();
      await line.next();
      line.send(packet);
      const connect = await line.said();
      assert.ok(connect.startsWith(answer), connect);
      assert.deepEqual(Object.keys(JSON.parse(connect.slice(answer.length))), ['sid']);
      assert.equal(await line.said(), auth);
      line.close();
    });
  }

  test('an unknown namespace is refused', async () => {
    const line = wire();
    await line.next();
    line.send('40/random');
    assert.equal(await line.said(), '44/random,{"message":"Invalid namespace"}');
    line.close();
  });

  test('what is no handshake closes the session', async () => {
    const line = wire();
    await line.next();
    line.send('4abc');
    await line.closed;
  });
});

describe('disconnect', () => {
  test('one namespace of two; the other goes on', async () => {
    const line = await connected();
    line.send('40/custom');
    assert.ok((await line.said()).startsWith('40/custom,'));
    assert.equal(await line.said(), '42/custom,["auth",{}]');
    line.send('41/custom');
    line.send('42["message","to the main namespace"]');
    assert.equal(await line.said(), '42["message-back","to the main namespace"]');
    line.close();
  });

  test('an event right before it is heard', async () => {
    const line = await connected();
    line.send('42["message","last words"]');
    line.send('41');
    line.close();
    await line.closed;
  });
});

describe('message', () => {
  test('order is kept', async () => {
    const line = await connected();
    const sent = Array.from({ length: 100 }, (_, i) => i);
    for (const i of sent) line.send(`42["message",${i}]`);
    const got = [];
    for (const _ of sent) got.push(JSON.parse((await line.said()).slice(2))[1]);
    assert.deepEqual(got, sent);
    line.close();
  });

  test('arguments of every kind', async () => {
    const line = await connected();
    for (const args of ['1,"2",{"3":[true]}', '[1,[2]]', 'null', '"ñ 🫀"', '{"b":1,"a":2}', '1.5,-7,12345678901']) {
      line.send(`42["message",${args}]`);
      assert.equal(await line.said(), `42["message-back",${args}]`);
    }
    line.close();
  });

  test('attachments', async () => {
    const line = await connected();
    const placeholders = '{"_placeholder":true,"num":0},{"deep":[{"_placeholder":true,"num":1}]}';
    line.send(`452-["message",${placeholders}]`);
    line.send(Buffer.from([1, 2, 3]));
    line.send(Buffer.from([4, 5, 6]));
    assert.equal(await line.said(), `452-["message-back",${placeholders}]`);
    assert.deepEqual(await line.said(), Buffer.from([1, 2, 3]));
    assert.deepEqual(await line.said(), Buffer.from([4, 5, 6]));
    line.close();
  });

  test('an acknowledgement', async () => {
    const line = await connected();
    line.send('42456["message-with-ack",1,"2",{"3":[false]}]');
    assert.equal(await line.said(), '43456[1,"2",{"3":[false]}]');
    line.close();
  });

  test('an acknowledgement with attachments', async () => {
    const line = await connected();
    line.send('452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
    line.send(Buffer.from([1, 2, 3]));
    line.send(Buffer.from([4, 5, 6]));
    assert.equal(await line.said(), '462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
    assert.deepEqual(await line.said(), Buffer.from([1, 2, 3]));
    assert.deepEqual(await line.said(), Buffer.from([4, 5, 6]));
    line.close();
  });

  for (const [what, packets] of [
    ['an unknown packet type', ['4abc']],
    ['an attachment that nobody announced', [Buffer.from([1, 2, 3])]],
    ['an event without a name', ['42{}']],
    ['an attachment that does not come', ['452-["message",{"_placeholder":true,"num":0}]', '42["message"]']],
  ]) {
    test(`closes the session: ${what}`, async () => {
      const line = await connected();
      for (const packet of packets) line.send(packet);
      await line.closed;
    });
  }

  test('who floods the server is ended', async () => {
    const line = await connected();
    for (let i = 0; i < 2_000; i++) line.send('42["message"]');
    for (;;) {
      const packet = await Promise.race([line.said(), line.closed]);
      if (packet === '41' || typeof packet === 'number') break;
    }
    line.close();
  });
});
