/** The official clients without WebSocket: as their only transport, and as the one they fall back to. */

import assert from 'node:assert/strict';
import { createServer, request } from 'node:http';
import { after, before, describe, test } from 'node:test';

import { JSDOM } from 'jsdom';

import './page.mjs';
import * as phoenix17 from 'phoenix-1.7';
import * as phoenix18 from 'phoenix-1.8';
import WebSocket from 'ws';

import { until } from '../harness/program.mjs';
import { Device, token, World } from './world.mjs';

const world = new World();
before(() => world.start());
after(() => world.end());

/** A proxy that passes requests on, and cuts the connections of upgrades. */
async function proxyWithoutUpgrades(server) {
  const proxy = createServer((incoming, outgoing) => {
    const { method, url, headers } = incoming;
    const passed = request({ host: '127.0.0.1', port: server.port, method, path: url, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.pipe(outgoing);
    });
    passed.on('error', () => outgoing.destroy());
    outgoing.on('close', () => passed.destroy());
    incoming.pipe(passed);
  });
  let upgrades = 0;
  proxy.on('upgrade', (_, socket) => {
    upgrades++;
    socket.destroy();
  });
  await new Promise((done) => proxy.listen(0, '127.0.0.1', done));
  return {
    port: proxy.address().port,
    upgrades: () => upgrades,
    end: () => {
      proxy.closeAllConnections();
      proxy.close();
    },
  };
}

class Storage {
  #values = new Map();
  getItem = (name) => this.#values.get(name) ?? null;
  setItem = (name, value) => this.#values.set(name, value);
}

for (const [version, phoenix] of [['1.7', phoenix17], ['1.8', phoenix18]]) {
  describe(`phoenix ${version}`, () => {
    let server;
    const devices = [];
    const device = (user, options) => {
      const one = new Device(phoenix, server, user, { transport: phoenix.LongPoll, ...options });
      devices.push(one);
      return one;
    };
    before(async () => {
      // 1.7 polls with XMLHttpRequest alone; 1.8 uses fetch where there is none. The page's origin is another one.
      if (version === '1.7') globalThis.XMLHttpRequest = new JSDOM('', { url: 'http://page.example/' }).window.XMLHttpRequest;
      server = await world.serve();
    });
    after(async () => {
      await Promise.all(devices.map((one) => one.leave()));
      await server.kill('SIGTERM');
      delete globalThis.XMLHttpRequest;
    });

    test('polling clients see every message once and in order', async () => {
      const { topic, users } = world.conversation();
      const ana = await (await device(users[0]).arrive()).enter(topic);
      const eva = await (await device(users[1]).arrive()).enter(topic);
      const phone = await (await device(users[1], { transport: WebSocket }).arrive()).enter(topic);
      const sent = [];
      for (let n = 0; n < 12; n++) {
        sent.push(`m${n}`);
        await [ana, eva, phone][n % 3].send(`m${n}`);
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

    test('a server that is killed loses nothing, and its clients come back', async () => {
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

    test('a session that the server does not know any more is opened again', async () => {
      const { topic, users } = world.conversation();
      const eva = await device(users[1]).enter(topic);
      const ana = await device(users[0], { transport: WebSocket }).enter(topic);
      // As after a restart that the client did not notice.
      Object.defineProperty(eva.socket.conn, 'token', { get: () => 'lp.unknown', set: () => {} });
      await until('she has noticed', () => eva.closes.length > 0);
      await until('she is back', () => eva.channel.state === 'joined');
      await ana.send('hola');
      await until('it has come', () => eva.heard.length === 1);
    });

    test('a refused token ends with 1008, and one that ends while it is used as well', async () => {
      const { users } = world.conversation();
      const stranger = device(users[0], { token: 'no token' });
      await until('it is refused', () => stranger.closes.includes(1008));
      const ana = device(users[0], { token: token(users[0], 1) });
      await until('it is closed', () => ana.closes.includes(1008));
      await Promise.all([stranger.leave(), ana.leave()]);
    });

    test('a client behind a proxy without upgrades falls back, and comes back to WebSocket', async () => {
      const { topic, users } = world.conversation();
      const ana = await device(users[0], { transport: WebSocket }).enter(topic);
      const proxy = await proxyWithoutUpgrades(server);
      const options = { transport: WebSocket, longPollFallbackMs: 1000 };
      const tab = new Storage();
      const behind = new Device(phoenix, proxy, users[1], { ...options, sessionStorage: tab });
      await (await behind.arrive()).enter(topic);
      assert.equal(behind.socket.transport, phoenix.LongPoll);
      assert.ok(proxy.upgrades() > 0);
      await ana.send('por sondeo');
      await until('it has come', () => behind.heard.length === 1);
      await behind.leave();
      // The same tab goes on polling; a new one tries the WebSocket first.
      const same = await device(users[1], { ...options, sessionStorage: tab }).enter(topic);
      const fresh = await device(users[1], { ...options, sessionStorage: new Storage() }).enter(topic);
      assert.equal(same.socket.transport, phoenix.LongPoll);
      assert.equal(fresh.socket.transport, WebSocket);
      await ana.send('y otra vez');
      await until('it has come', () => same.heard.length === 1 && fresh.heard.length === 1);
      proxy.end();
    });
  });
}

test('the token in a header, of 1.8', async () => {
  const server = await world.serve();
  const { topic, users } = world.conversation();
  const options = { transport: phoenix18.LongPoll, authToken: token(users[0]) };
  const ana = await new Device(phoenix18, server, users[0], options).enter(topic);
  await ana.send('uno');
  await until('it is heard', () => ana.heard.length === 1);
  await ana.leave();
  await server.kill('SIGTERM');
});
