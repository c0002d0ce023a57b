/** A client of the document that only listens, and notifications. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import * as phoenix from 'phoenix-1.8';

import { until } from '../harness/program.mjs';
import { Device, World } from './world.mjs';

const KEY = 'the key of backends in this test run';
const world = new World();
let server;
before(async () => {
  await world.start();
  server = await world.serve({ MESSAGING_API_KEY: KEY });
});
after(() => world.end());

test("a client that only listens hears the document's names and shapes", async () => {
  const { topic, users } = world.conversation();
  const eva = new Device(phoenix, server, users[1], { path: '/socket' });
  const heard = [];
  const listen = (channel, ...events) => {
    for (const event of events) channel.on(event, (payload) => heard.push([event, payload]));
    return new Promise((done) => channel.join().receive('ok', done));
  };
  await listen(eva.socket.channel(`user:${users[1]}`), 'notification');
  await listen(eva.socket.channel(topic), 'new_message', 'typing_indicator', 'read_receipt');
  const ana = await new Device(phoenix, server, users[0]).enter(topic);
  ana.channel.push('user_typing', { typing: true });
  const { message } = await ana.send('hola');
  const notification = { title: 'Pedido', data: { id: 7 } };
  const answer = await fetch(`http://127.0.0.1:${server.port}/messaging/api/v1/notifications`, {
    method: 'POST',
    headers: { 'X-API-Key': KEY },
    body: JSON.stringify({ user_id: users[1], notification }),
  });
  assert.equal(answer.status, 200);
  await until('all has come', () => heard.length >= 3);
  const [typing, received, notified] = heard;
  assert.deepEqual([typing[0], typing[1].user_id, typing[1].action], ['typing_indicator', users[0], 'start']);
  assert.deepEqual([received[0], received[1].message_id, received[1].content], ['new_message', message.id, btoa('hola')]);
  assert.deepEqual(notified, ['notification', notification]);
  await Promise.all([ana.leave(), eva.leave()]);
});
