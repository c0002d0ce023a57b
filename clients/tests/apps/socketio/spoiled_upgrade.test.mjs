/**
 * Real clients with their default transports, behind proxies that spoil the upgrade to a WebSocket: each must log in and talk by
 * polling, without a storm of requests. Where nothing is spoiled, each must upgrade.
 */

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { io as io4 } from 'socket.io-client';
import io2 from 'socket.io-client-2';
import { io as io3 } from 'socket.io-client-3';

import { Program, until } from '../harness/program.mjs';
import { FAULTS, Proxy } from '../harness/proxy.mjs';

/** The requests until the first answer to an event: Node's own server needs 9. */
const MAX_REQUESTS = 12;
/** The requests of the following quiet seconds. A poll of a quiet session waits. */
const QUIET_MS = 3_000;
const MAX_QUIET_REQUESTS = 12;

let server;
let port;

before(async () => {
  // The deadlines of the suites are too short for a delayed WebSocket.
  server = new Program('examples/socketio_echo', ['0'], { ALLOW_EIO3: '1', PING_INTERVAL_MS: '25000', PING_TIMEOUT_MS: '20000' });
  port = Number(await server.says(/listening on port (\d+)/));
});

after(() => server.end());

/** Emits an event, and waits for its echo. */
async function exchange(socket, what) {
  let echoed;
  socket.once('message-back', (text) => (echoed = text));
  socket.emit('message', what);
  await until('the event is echoed', () => echoed !== undefined);
  assert.equal(echoed, what);
}

const CLIENTS = {
  'socket.io-client 2.5': io2,
  'socket.io-client 3': io3,
  'socket.io-client 4': io4,
};

for (const [name, io] of Object.entries(CLIENTS)) {
  describe(name, () => {
    for (const fault of Object.keys(FAULTS)) {
      test(`${fault} behind the 101`, async () => {
        const proxy = new Proxy(port, fault);
        const socket = io(`http://127.0.0.1:${await proxy.listen()}`, { forceNew: true, reconnection: false });
        const ends = [];
        socket.on('disconnect', (reason) => ends.push(reason));
        try {
          await until(`${name} is connected`, () => socket.connected);
          await exchange(socket, 'first');
          assert.ok(proxy.requests <= MAX_REQUESTS, `${proxy.requests} requests until the first answer`);
          await until('the upgrade was tried', () => proxy.upgrades > 0);
          const before = proxy.requests;
          await new Promise((next) => setTimeout(next, QUIET_MS));
          assert.ok(proxy.requests - before <= MAX_QUIET_REQUESTS, `${proxy.requests - before} requests while quiet`);
          await exchange(socket, 'second');
          assert.deepEqual(ends, []);
          if (fault === 'nothing') assert.equal(socket.io.engine.transport.name, 'websocket');
          if (fault === 'cut') assert.equal(socket.io.engine.transport.name, 'polling');
        } finally {
          socket.close();
          proxy.end();
        }
      });
    }
  });
}

const PYTHON = spawnSync('python3', ['-c', 'import socketio, requests, websocket']).status === 0;

describe('python-socketio', { skip: PYTHON ? false : 'python3 has no python-socketio[client] here: NOT tested' }, () => {
  const script = fileURLToPath(new URL('client.py', import.meta.url));
  for (const fault of Object.keys(FAULTS)) {
    test(`${fault} behind the 101`, async () => {
      const proxy = new Proxy(port, fault);
      const client = spawn('python3', [script, `http://127.0.0.1:${await proxy.listen()}`], { stdio: ['ignore', 'pipe', 'inherit'] });
      let printed = '';
      client.stdout.on('data', (text) => (printed += text));
      try {
        await until('the client has its answer or has given up', () => printed.includes('\n') || client.exitCode !== null);
        assert.match(printed, /^echo first\n/);
        assert.ok(proxy.requests <= MAX_REQUESTS, `${proxy.requests} requests`);
      } finally {
        client.kill();
        proxy.end();
      }
    });
  }
});
