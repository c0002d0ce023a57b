/** Unmodified `phoenix` clients of two versions against the real server and a real Postgres. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import * as phoenix17 from 'phoenix-1.7';
import * as phoenix18 from 'phoenix-1.8';

import { until } from '../harness/program.mjs';
import { Device, token, World } from './world.mjs';

const world = new World();
before(() => world.start());
after(() => world.end());

for (const [version, phoenix] of [['1.7', phoenix17], ['1.8', phoenix18]]) {
  describe(`phoenix ${version}`, () => {
    let server;
    const devices = [];
    const device = (user, options) => {
      const one = new Device(phoenix, server, user, options);
      devices.push(one);
      return one;
    };
    before(async () => (server = await world.serve()));
    after(async () => {
      await Promise.all(devices.map((one) => one.leave()));
      await server.kill('SIGTERM');
    });

    test('two users on three devices see every message once and in order', async () => {
      const { topic, users } = world.conversation();
      const ana = await (await device(users[0]).arrive()).enter(topic);
      const eva = await (await device(users[1]).arrive()).enter(topic);
      const phone = await (await device(users[1]).arrive()).enter(topic);
      const sent = [];
      for (let n = 0; n < 30; n++) {
        const from = [ana, eva, phone][n % 3];
        sent.push(`m${n}`);
        const { message } = await from.send(`m${n}`);
        assert.equal(message.content, `m${n}`);
      }
      for (const one of [ana, eva, phone]) {
        await until('all have come', () => one.heard.length >= sent.length);
        assert.deepEqual(one.heard, sent);
      }
    });

    test('a burst keeps its order', async () => {
      const { topic, users } = world.conversation();
      const ana = await device(users[0]).enter(topic);
      const eva = await device(users[1]).enter(topic);
      const sent = Array.from({ length: 40 }, (_, n) => `b${n}`);
      await Promise.all(sent.map((content) => ana.send(content)));
      await until('all have come', () => eva.heard.length >= sent.length);
      assert.deepEqual(eva.heard, sent);
    });

    test('a retry is the original, and a mere collision is not lost', async () => {
      const { topic, users } = world.conversation();
      const ana = await device(users[0]).enter(topic);
      const eva = await device(users[1]).enter(topic);
      const first = await ana.send('hola', 7);
      const again = await ana.send('hola', 7);
      assert.equal(again.message.id, first.message.id);
      await ana.send('otra', 7);
      await until('both have come', () => eva.heard.includes('otra'));
      assert.deepEqual(eva.heard, ['hola', 'otra']);
    });

    test('rows that SQL writes arrive', async () => {
      const { id, topic, users } = world.conversation();
      const eva = await (await device(users[1]).arrive()).enter(topic);
      const told = [];
      eva.mine.on('new_message', ({ message }) => told.push(message.content));
      const values = ['uno', 'dos'].map((content) => `('${id}', '${users[0]}', '${content}')`);
      world.sql(`INSERT INTO messages (conversation_id, sender_id, content) VALUES ${values.join(', ')}`);
      await until('both have come', () => eva.heard.length === 2 && told.length === 2);
      assert.deepEqual([eva.heard, told], [['uno', 'dos'], ['uno', 'dos']]);
    });

    test('a server that is killed loses nothing', async () => {
      const { topic, users } = world.conversation();
      const ana = await (await device(users[0]).arrive()).enter(topic);
      const eva = await (await device(users[1]).arrive()).enter(topic);
      await ana.send('antes');
      await until('it has come', () => eva.heard.length === 1);
      await server.kill();
      await until('both have noticed', () => ana.closes.length > 0 && eva.closes.length > 0);
      await server.start();
      await until('both are back', () => ana.channel.state === 'joined' && eva.channel.state === 'joined');
      await ana.send('después');
      await until('it has come', () => eva.heard.length >= 2);
      assert.deepEqual(eva.heard, ['antes', 'después']);
    });

    test('a server that is killed again and again stores what is retried once, and loses none', async () => {
      const { id, topic, users } = world.conversation();
      const ana = await (await device(users[0]).arrive()).enter(topic);
      const eva = await (await device(users[1]).arrive()).enter(topic);
      const acknowledged = [];
      const insist = async (content, number) => {
        for (;;) {
          const answer = await ana.send(content, number, 1500).catch((error) => error);
          if (!(answer instanceof Error)) return acknowledged.push(answer.message.id);
        }
      };
      const sent = Array.from({ length: 60 }, (_, n) => `k${n}`);
      const sending = (async () => {
        for (const [n, content] of sent.entries()) await insist(content, n);
      })();
      for (const stop of [10, 30]) {
        await until('some are stored', () => acknowledged.length >= stop);
        await server.kill();
        await server.start();
      }
      await sending;
      const rows = world.sql(`SELECT convert_from(content, 'UTF8') FROM messages WHERE conversation_id = '${id}' ORDER BY position`);
      assert.deepEqual(rows.split('\n'), sent, 'each once, in order');
      assert.equal(new Set(acknowledged).size, sent.length);
      // What came while nobody was connected waits on the user's channel.
      const got = () => new Set([...eva.heard, ...eva.pending]);
      await until('all have come', () => sent.every((content) => got().has(content)));
      const live = eva.heard.map((content) => sent.indexOf(content));
      assert.deepEqual(live, [...new Set(live)].sort((a, b) => a - b), 'what was heard live, once and in order');
    });

    test('whoever was away finds what came meanwhile', async () => {
      const { topic, users } = world.conversation();
      const ana = await device(users[0]).enter(topic);
      const eva = await device(users[1]).arrive();
      await eva.leave();
      const sent = await ana.send('para luego');
      const back = await device(users[1]).arrive();
      assert.deepEqual(back.pending, ['para luego']);
      await back.enter(topic);
      assert.deepEqual(await back.push('message_delivered', { message_id: sent.message.id }), { status: 'delivered' });
      const again = await device(users[1]).arrive();
      assert.deepEqual(again.pending, []);
    });

    test('presence converges', async () => {
      const { topic, users } = world.conversation();
      const ana = device(users[0]);
      const channel = (ana.channel = ana.socket.channel(topic));
      const presence = new phoenix.Presence(channel);
      await new Promise((done) => channel.join().receive('ok', done));
      const seen = () => Object.fromEntries(presence.list((user, { metas }) => [user, metas.length]));
      const one = await device(users[1]).enter(topic);
      const two = await device(users[1]).enter(topic);
      await until('all are seen', () => seen()[users[1]] === 2 && seen()[users[0]] === 1);
      await Promise.all([one.leave(), two.leave()]);
      await until('they are gone', () => !(users[1] in seen()));
      assert.deepEqual(seen(), { [users[0]]: 1 });
    });

    test('a token that ends, ends the connection with 4001', async () => {
      const { users } = world.conversation();
      const ana = device(users[0], { token: token(users[0], 1) });
      await until('it is closed', () => ana.closes.includes(4001));
      await ana.leave();
    });

    test('nobody else comes in', async () => {
      const { topic, users } = world.conversation();
      const stranger = device(world.conversation().users[0]);
      await assert.rejects(stranger.enter(topic), /not_authorized/);
      await assert.rejects(stranger.enter(`user:${users[0]}`), /unauthorized/);
    });

    test('pushes that nobody knows are answered', async () => {
      const { topic, users } = world.conversation();
      const ana = await device(users[0]).enter(topic);
      await assert.rejects(ana.push('surprise', {}), /unknown_event/);
      await ana.send('still here');
    });
  });
}

test('frames of version 1', async () => {
  const server = await world.serve();
  const { topic, users } = world.conversation();
  const encode = (message, done) => done(JSON.stringify(message));
  const decode = (text, done) => done(JSON.parse(text));
  const ana = await new Device(phoenix17, server, users[0], { vsn: '1.0.0', encode, decode }).enter(topic);
  const eva = await new Device(phoenix18, server, users[1]).enter(topic);
  await ana.send('uno');
  await until('both have heard it', () => ana.heard.length === 1 && eva.heard.length === 1);
  await Promise.all([ana.leave(), eva.leave()]);
  await server.kill('SIGTERM');
});

test('the token as a subprotocol, of 1.8', async () => {
  const server = await world.serve();
  const { topic, users } = world.conversation();
  const ana = await new Device(phoenix18, server, users[0], { authToken: token(users[0]) }).enter(topic);
  await ana.send('uno');
  await until('it is heard', () => ana.heard.length === 1);
  await ana.leave();
  await server.kill('SIGTERM');
});
