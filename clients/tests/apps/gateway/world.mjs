/** The real server with the gateway on, a Django API that can be told how to behave, and clients of both generations. */

import { createServer } from 'node:http';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { io } from 'socket.io-client';

import { PATIENCE_MS, Program } from '../harness/program.mjs';

export const KEY = 'the publishers key of this test run';

/** Tokens are `ROLE-ID`; what the API says of them depends on `mode`. */
export class Django {
  mode = 'well';
  asked = [];
  #server;

  async start() {
    this.#server = createServer((request, response) => this.#answer(request, response));
    await new Promise((done) => this.#server.listen(0, '127.0.0.1', done));
    this.url = `http://127.0.0.1:${this.#server.address().port}`;
    return this;
  }

  #answer(request, response) {
    const token = /^Token (.*)$/.exec(request.headers.authorization ?? '')?.[1];
    this.asked.push({ method: request.method, path: request.url, token });
    const say = (status, body, headers = {}) => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers });
      response.end(typeof body === 'string' ? body : JSON.stringify(body));
    };
    const [role, id] = (token ?? '').split('-');
    if (this.mode === 'slow') return;
    if (this.mode === 'broken') return say(500, 'Traceback');
    if (this.mode === 'garbage') return say(200, '<!doctype html>');
    if (this.mode === 'huge') return say(200, JSON.stringify({ id: Number(id), rol: role, x: 'x'.repeat(1_000_000) }));
    if (this.mode === 'redirect') return say(302, '', { location: `${this.url}/api/v1/profile/` });
    if (this.mode === 'other') return say(200, { user: { id: 99 }, id: 99, rol: 'cliente' });
    if (!id) return say(401, { detail: 'Invalid token.' });
    if (this.mode === 'forbidden') return say(403, { id: Number(id), rol: role });
    return say(200, { user: { id: 1000 }, id: Number(id), rol: role === 'nadie' ? null : role });
  }

  async end() {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }
}

export class World {
  django = new Django();
  sockets = new Set();
  #home = mkdtempSync(join(tmpdir(), 'latido-gateway-'));

  async start(variables = {}) {
    await this.django.start();
    this.server = new Program('latido', ['serve'], {
      HOST: '127.0.0.1',
      PORT: '0',
      // The gateway needs no database, and must not mind that there is none.
      DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/nothing',
      JWT_SECRET: 'a secret of this test run alone, long enough',
      LATIDO_APPS: 'gateway',
      GATEWAY_PORT: '0',
      GATEWAY_API_URL: this.django.url,
      GATEWAY_API_KEY: KEY,
      GATEWAY_ADMIN_IDS: '1,2',
      // One test waits for this time-out. The API of all others answers from this busy process.
      GATEWAY_API_TIMEOUT_SECONDS: '4',
      RUST_LOG: 'latido=debug,warn',
      ...variables,
    }, this.#home);
    const port = await this.server.says(/"listener":"127\.0\.0\.1:(\d+)"/);
    this.url = `http://127.0.0.1:${port}`;
    await this.server.answers(`${this.url}/api/health`);
    return this;
  }

  /** A connected socket with an ear for everything. */
  async connect(namespace = '/', options = {}) {
    const socket = io(this.url + namespace, { transports: ['websocket'], reconnection: false, forceNew: true, ...options });
    const client = new Client(socket);
    this.sockets.add(client);
    await client.connected;
    return client;
  }

  /** The same, identified. Its id is text unless it is a number. */
  async enter(role, id, namespace = '/', options = {}) {
    const client = await this.connect(namespace, options);
    client.emit('authenticate', { token: `${role === 'admin' ? 'nadie' : role}-${id}`, userId: id, role });
    await client.next('auth_success');
    return client;
  }

  async get(path, headers = {}) {
    const response = await fetch(this.url + path, { headers: { 'x-api-key': KEY, ...headers } });
    return response.json();
  }

  async post(path, body, headers = { 'x-api-key': KEY }) {
    const response = await fetch(this.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    return { status: response.status, text };
  }

  leave() {
    for (const client of this.sockets) client.socket.disconnect();
    this.sockets.clear();
  }

  async end() {
    this.leave();
    await this.server.end();
    await this.django.end();
    rmSync(this.#home, { recursive: true, force: true });
  }
}

export class Client {
  heard = [];
  #waiting = new Set();

  constructor(socket) {
    this.socket = socket;
    this.connected = new Promise((done, fail) => {
      socket.once('connect', done);
      socket.once('connect_error', fail);
    });
    this.gone = new Promise((done) => socket.once('disconnect', done));
    socket.onAny((name, payload) => {
      this.heard.push([name, payload]);
      for (const look of this.#waiting) look();
    });
  }

  get id() {
    return this.socket.id;
  }

  emit(name, ...args) {
    this.socket.emit(name, ...args);
  }

  /** The next event of a name, taken out of what was heard; those before it of other names stay. */
  next(name, accept = () => true) {
    return new Promise((done, fail) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        fail(new Error(`no ${name}; heard ${JSON.stringify(this.heard)}`));
      }, PATIENCE_MS);
      const look = () => {
        const place = this.heard.findIndex(([heard, payload]) => heard === name && accept(payload));
        if (place < 0) return;
        const [[, payload]] = this.heard.splice(place, 1);
        clearTimeout(timer);
        this.#waiting.delete(look);
        done(payload);
      };
      this.#waiting.add(look);
      look();
    });
  }

  /** Everything that was on its way has come when this resolves. */
  async settle() {
    this.emit('ping', 'settle');
    await this.next('pong', ({ data }) => data === 'settle');
  }

  names() {
    return this.heard.map(([name]) => name);
  }

  clear() {
    this.heard.length = 0;
  }

  /** As when a cable is cut: no word of parting. */
  kill() {
    const { transport } = this.socket.io.engine;
    if (transport.ws) transport.ws.terminate();
    else this.socket.io.engine.close();
  }
}
