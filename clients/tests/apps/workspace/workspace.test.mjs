/** Display Sim's clients, as they are, against the real server: `ws` on one side, the publisher's calls on the other. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import WebSocket from 'ws';

import { PATIENCE_MS, Program, until } from '../harness/program.mjs';

const KEY = 'the key of this test run alone';
const SECRET = 'a secret of this test run alone, long enough';
const WORKSPACE = '507f1f77bcf86cd799439011';
const USER = '507f191e810c19729de860ea';
const home = mkdtempSync(join(tmpdir(), 'latido-workspace-'));
let url = '';
const sockets = new Set();

/** A server without a database: nothing here needs one. */
async function start(env = {}) {
  const program = new Program('latido', ['serve'], {
    HOME: home,
    HOST: '127.0.0.1',
    PORT: '0',
    DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/none',
    JWT_SECRET: SECRET,
    LATIDO_APPS: 'workspace',
    WORKSPACE_API_KEY: `another key of this run, ${KEY}`,
    TIMEZONE: 'Europe/Bucharest',
    ...env,
  }, home);
  const port = await program.says(/"address":"127\.0\.0\.1:(\d+)"/);
  return { program, url: `http://127.0.0.1:${port}` };
}

function token(claims, lifetimeS = 600) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ exp: Math.floor(Date.now() / 1000) + lifetimeS, ...claims })}`;
  return `${body}.${createHmac('sha256', SECRET).update(body).digest('base64url')}`;
}

const member = (userId, ...ids) => token({ userId, workspaces: ids.map((workspaceId) => ({ workspaceId, role: 'staff' })) });

/** What the server says to one connection, in order. */
class Client {
  frames = [];
  closed;
  constructor(at = url, path = '/ws') {
    this.socket = new WebSocket(at.replace('http', 'ws') + path);
    sockets.add(this.socket);
    this.socket.on('message', (data, isBinary) => this.frames.push(isBinary ? data : String(data)));
    this.socket.on('close', (code, reason) => (this.closed = { code, reason: String(reason) }));
    this.socket.on('error', () => {});
    this.socket.on('unexpected-response', (_, answer) => (this.closed = { status: answer.statusCode }));
    this.opened = new Promise((done) => this.socket.once('open', done));
  }
  async send(frame) {
    await this.opened;
    this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }
  /** The next frame, as text. */
  async next() {
    await until('a frame comes', () => this.frames.length || this.closed);
    assert.ok(this.frames.length, `closed: ${JSON.stringify(this.closed)}`);
    return this.frames.shift();
  }
  async ended() {
    return until('the connection ends', () => this.closed);
  }
  static async enter(workspace, user, { at = url, key = member(user, workspace) } = {}) {
    const client = new Client(at);
    await client.send({ type: 'auth', workspace_id: workspace, user_id: user, token: key });
    assert.equal(await client.next(), '{"type":"auth_success"}');
    return client;
  }
}

/** The old publisher's service, with fetch in axios' place: null, or an empty list, when anything goes wrong. */
class Publisher {
  constructor(at = url, key = KEY) {
    Object.assign(this, { at, key });
  }
  async #call(method, path, body, otherwise = null) {
    const headers = { 'X-API-Key': this.key, 'Content-Type': 'application/json', Accept: 'application/json, text/plain, */*' };
    try {
      const answer = await fetch(this.at + path, { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(PATIENCE_MS) });
      return answer.ok ? await answer.json() : otherwise;
    } catch {
      return otherwise;
    }
  }
  notify = (workspace, type, entity, data) => this.#call('POST', `/api/workspaces/${workspace}/notify`, { type, entity, data });
  broadcast = (workspace, message) => this.#call('POST', `/api/workspaces/${workspace}/broadcast`, { message });
  message = (user, message) => this.#call('POST', `/api/users/${user}/message`, { message });
  users = async (workspace) => (await this.#call('GET', `/api/workspaces/${workspace}/users`, undefined, { users: [] })).users;
  healthy = async () => (await fetch(`${this.at}/api/health`, { signal: AbortSignal.timeout(PATIENCE_MS) })).status === 200;
}

let server;
before(async () => {
  server = await start();
  url = server.url;
});
afterEach(() => {
  for (const socket of sockets) socket.terminate();
  sockets.clear();
});
after(async () => {
  await server.program.end();
  rmSync(home, { recursive: true, force: true });
});

test('a workspace hears of every change, byte for byte', async () => {
  const [one, two, other] = [await Client.enter(WORKSPACE, USER), await Client.enter(WORKSPACE, 456), await Client.enter(123, USER)];
  const publisher = new Publisher();
  const appointment = { _id: '65', clientId: { _id: '1', name: 'Ștefan' }, status: 'confirmată', startMinutes: 540 };
  assert.deepEqual(await publisher.notify(WORKSPACE, 'create', 'Appointment', appointment), { status: 'notified' });
  assert.deepEqual(await publisher.notify(WORKSPACE, 'delete', 'Appointment', { _id: '65' }), { status: 'notified' });
  for (const client of [one, two]) {
    assert.equal(await client.next(), `{"type":"data_change","entity":"Appointment","action":"create","data":${JSON.stringify(appointment)}}`);
    assert.equal(await client.next(), '{"type":"data_change","entity":"Appointment","action":"delete","data":{"_id":"65"}}');
  }
  for (const message of ['Bună', { nested: [1, null] }, 0, null]) {
    assert.deepEqual(await publisher.broadcast(WORKSPACE, message), { status: 'sent' });
    assert.equal(await one.next(), `{"type":"broadcast","message":${JSON.stringify(message)}}`);
  }
  await other.send({ type: 'ping' });
  assert.equal(await other.next(), '{"type":"pong"}', 'and no other workspace');
});

test('a direct message reaches all sockets of a user, wherever they are', async () => {
  const clients = [await Client.enter(1, USER), await Client.enter(2, USER), await Client.enter(1, USER)];
  const message = { type: 'appointment_cancelled', appointment: { _id: '65' }, reason: 'bolnav' };
  assert.deepEqual(await new Publisher().message(USER, message), { status: 'sent' });
  for (const client of clients) assert.equal(await client.next(), `{"type":"direct_message","message":${JSON.stringify(message)}}`);
});

test('presence is right, whatever becomes of the sockets', async () => {
  const publisher = new Publisher();
  const clients = [await Client.enter(77, 456), await Client.enter(77, 456), await Client.enter(77, USER)];
  assert.deepEqual(await publisher.users(77), [456, USER]);
  clients[0].socket.terminate();
  clients[2].socket.close();
  await until('one is left', async () => JSON.stringify(await publisher.users(77)) === '[456]');
  clients[1].socket.terminate();
  await until('nobody is left', async () => (await publisher.users(77)).length === 0);
});

test('an identity that is not proven is refused with 4401', async () => {
  const frames = [
    { workspace_id: 123, user_id: 456 },
    { workspace_id: 124, user_id: 456, token: member(456, 123) },
    { workspace_id: 123, user_id: 457, token: member(456, 123) },
    { workspace_id: 123, user_id: 456, token: member(456, 123).slice(0, -3) + 'AAA' },
    { workspace_id: 123, user_id: 456, token: token({ userId: 456, workspaces: [{ workspaceId: 123 }] }, -60) },
    { workspace_id: 123, user_id: 456, token: token({ userId: 456 }) },
    { workspace_id: {}, user_id: [], token: 7 },
    {},
  ];
  for (const frame of frames) {
    const client = new Client();
    await client.send({ type: 'auth', ...frame });
    assert.equal(await client.next(), '{"type":"error","message":"Unauthorized"}', JSON.stringify(frame));
    assert.equal((await client.ended()).code, 4401);
  }
});

test('a token may come with the request', async () => {
  const client = new Client(url, `/ws?token=${member(456, 9)}`);
  await client.send({ type: 'auth', workspace_id: 9, user_id: 456 });
  assert.equal(await client.next(), '{"type":"auth_success"}');
  assert.equal((await new Client(url, `/ws?token=${member(456, 9)}x`).ended()).status, 401);
});

test('small talk is answered and the connection stays', async () => {
  const client = new Client();
  for (const [said, answer] of [
    ['{"type":"ping"}', '{"type":"pong"}'],
    ['nonsense', '{"type":"error","message":"Invalid JSON format"}'],
    ['{"type":"hello"}', '{"type":"error","message":"Unknown message type"}'],
    ['{"type":"ping"}', '{"type":"pong"}'],
  ]) {
    await client.send(said);
    assert.equal(await client.next(), answer);
  }
  await client.send({ type: 'subscribe', data: { channel: 'estadisticas:1' } });
  assert.equal(await client.next(), '{"type":"error","message":"Unauthorized"}');
  assert.equal((await client.ended()).code, 4401);
});

test('a socket may change who it is', async () => {
  const client = await Client.enter(1, 7);
  await client.send({ type: 'auth', workspace_id: 2, user_id: 8, token: member(8, 2) });
  assert.equal(await client.next(), '{"type":"auth_success"}');
  const publisher = new Publisher();
  await publisher.broadcast(1, 'old');
  await publisher.message(7, 'old');
  await publisher.broadcast(2, 'new');
  assert.equal(await client.next(), '{"type":"broadcast","message":"new"}');
  assert.deepEqual([await publisher.users(1), await publisher.users(2)], [[], [8]]);
});

test('the publisher needs a key, and sees null or nothing without', async () => {
  assert.ok(await new Publisher().healthy());
  assert.deepEqual(await new Publisher(url, 'another key of this run').broadcast(1, 'x'), { status: 'sent' });
  const stranger = new Publisher(url, 'default-api-key');
  assert.deepEqual([await stranger.broadcast(1, 'x'), await stranger.users(1)], [null, []]);
  const ask = async (method, path, body, headers = { 'x-api-key': KEY }) => {
    const answer = await fetch(url + path, { method, body, headers });
    return [answer.status, await answer.json()];
  };
  assert.deepEqual(await ask('POST', '/api/users/1/message', '{"message":1}', {}), [401, { error: 'Unauthorized' }]);
  assert.deepEqual(await ask('POST', '/api/users/1/message', '{'), [400, { error: 'Invalid JSON' }]);
  assert.deepEqual(await ask('GET', '/api/users/1/message'), [405, { error: 'Method not allowed' }]);
  assert.deepEqual(await ask('GET', '/api/workspaces/1/nothing'), [404, { error: 'Not found' }]);
  assert.equal((await ask('GET', '/health', undefined, {}))[1].status, 'ok');
});

test('without the key the server does not start, and says why', async () => {
  const { program } = await start({ WORKSPACE_API_KEY: 'default-api-key' }).catch((error) => ({ program: { printed: error.message } }));
  assert.match(program.printed, /WORKSPACE_API_KEY: a key is too short/);
});

test('trusting the client is a switch that shouts', async () => {
  const trusting = await start({ WORKSPACE_TRUST_CLIENT_IDS: 'true' });
  assert.match(trusting.program.printed, /WORKSPACE_TRUST_CLIENT_IDS is on/);
  await Client.enter(123, 456, { at: trusting.url, key: undefined });
  assert.deepEqual(await new Publisher(trusting.url).users(123), [456]);
  await trusting.program.end();
});

test('at its end the server asks everybody to come back', async () => {
  const ending = await start();
  const clients = [];
  for (let n = 0; n < 10; n += 1) clients.push(await Client.enter(1, n, { at: ending.url }));
  await ending.program.end('SIGTERM');
  for (const client of clients) assert.equal((await client.ended()).code, 1012);
});

test('the example runs', async () => {
  const example = resolve(dirname(fileURLToPath(import.meta.url)), '../../../examples/workspace.mjs');
  const child = spawn(process.execPath, [example, url], { env: { PATH: process.env.PATH, WORKSPACE_API_KEY: KEY, JWT_SECRET: SECRET } });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (printed += text));
  assert.equal(await new Promise((done) => child.once('exit', done)), 0, printed);
  assert.match(printed, /staff {2}← .*appointment_confirmed/);
});
