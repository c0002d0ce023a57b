/** A private Postgres with the app's tables in it, the real server on it, and the clients: official ones, or plain WebSockets. */

import { createHmac } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import pg from 'pg';
import { io } from 'socket.io-client';
import WebSocket from 'ws';

import { Program, until } from '../harness/program.mjs';

const SECRET = 'a secret of this test run alone, long enough';
const SESSION_SECRET = 'keyboard cat';
export const API_KEY = 'a key of this test run';
/** bcrypt of «s3cret», with a cost that no table should have. */
const HASH = '$2b$04$abcdefghijklmnopqrstuuLZYjhNQAOdpbzt4WxWlUHjv1wsyH5DG';

/** A token as the REST API would sign it. */
export function token(claims, lifetimeS = 600) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ iat: now, exp: now + lifetimeS, ...claims })}`;
  return `${body}.${createHmac('sha256', SECRET).update(body).digest('base64url')}`;
}

/** The cookie that express-session would set. */
export function cookie(sid, secret = SESSION_SECRET) {
  const signature = createHmac('sha256', secret).update(sid).digest('base64').replace(/=+$/, '');
  return `connect.sid=${encodeURIComponent(`s:${sid}.${signature}`)}`;
}

/** What somebody hears, in order. */
class Heard {
  events = [];

  add(name, payload) {
    this.events.push([name, payload]);
  }

  names() {
    return this.events.map(([name]) => name);
  }

  count(name) {
    return this.events.filter(([known]) => known === name).length;
  }

  /** The first that satisfies, once it is there. */
  async first(name, is = () => true) {
    const found = () => this.events.find(([known, payload]) => known === name && is(payload));
    await until(`${name} is heard among ${[...new Set(this.names())]}`, found);
    return found()[1];
  }

  clear() {
    this.events.length = 0;
  }
}

/** A web page. */
export class Page {
  heard = new Heard();

  constructor(url, options = {}) {
    this.socket = io(url, { transports: ['websocket'], forceNew: true, reconnectionDelay: 50, ...options });
    this.socket.onAny((name, payload) => this.heard.add(name, payload));
    this.socket.on('disconnect', (reason) => this.heard.add('(disconnect)', reason));
  }

  say(event, payload) {
    this.socket.emit(event, payload);
  }

  /** Says who it is, and waits until that is taken. */
  async authenticate(claim) {
    this.say('client:authenticate', claim);
    await this.heard.first('client:auth:success');
    return this;
  }

  close() {
    this.socket.disconnect();
  }
}

/** A module on a plain WebSocket. */
export class Device {
  heard = new Heard();

  constructor(url, id, password = 's3cret') {
    Object.assign(this, { id, password });
    this.socket = new WebSocket(url);
    this.socket.on('error', () => {});
    this.socket.on('message', (data) => {
      const frame = JSON.parse(data);
      this.heard.add(frame.type, frame);
    });
    this.closed = new Promise((done) => this.socket.once('close', (code, reason) => done([code, reason.toString()])));
    this.opened = new Promise((done) => this.socket.once('open', done));
  }

  send(type, fields = {}) {
    this.socket.send(JSON.stringify({ type, moduleId: this.id, password: this.password, ...fields }));
  }

  async identify(fields = {}) {
    await this.opened;
    this.send('module_identify', { moduleType: 'Coaster', uptime: 1, position: 'middle', ...fields });
    await this.heard.first('auth_success');
    return this;
  }

  kill() {
    this.socket.terminate();
  }
}

export class World {
  #home = mkdtempSync(join(tmpdir(), 'latido-modules-'));
  #demo;
  #pages = [];
  #devices = [];

  /** @param variables more of the server's */
  async start(variables = {}) {
    // Where the tests run as root, Postgres does not.
    chmodSync(this.#home, 0o711);
    const own = { HOME: this.#home, HOST: '127.0.0.1', ...(process.env.PG_BIN && { PG_BIN: process.env.PG_BIN }) };
    this.#demo = new Program('latido', ['demo'], { ...own, XDG_STATE_HOME: this.#home, PORT: '0' }, this.#home);
    await this.#demo.says(/Latido is running: (\S+)/);
    const folder = await this.#demo.says(/psql '\S*[?&]host=([^&']+)/);
    this.variables = {
      ...own,
      DATABASE_URL: `postgresql://postgres@/latido?host=${folder}&port=5432`,
      TIMEZONE: 'Europe/Paris',
      PORT: '0',
      JWT_SECRET: SECRET,
      LATIDO_APPS: 'modules',
      MODULES_API_KEY: API_KEY,
      MODULES_SESSION_SECRET: SESSION_SECRET,
      MODULES_SESSION_SECONDS: '1',
      MODULES_GROUP_MS: '50',
      ...variables,
    };
    const installed = new Program('latido', ['install'], this.variables, this.#home);
    await until('it is installed', () => !installed.alive);
    if (installed.exitCode !== 0) throw new Error(installed.printed);
    this.sql = new pg.Client({ host: folder, port: 5432, user: 'postgres', database: 'latido' });
    await this.sql.connect();
    await this.sql.query(`INSERT INTO users (id, name) VALUES (1, 'Root'), (7, 'Ana'), (8, 'Eva')`);
    await this.sql.query(
      `INSERT INTO modules (module_id, name, type, module_code, module_password_hash, user_id, claimed) VALUES
         ('M1', 'Loop', 'Coaster', 'c1', $1, 7, true), ('M2', 'Drop', 'Tower', 'c2', $1, 7, true),
         ('M3', 'Wheel', 'Wheel', 'c3', $1, 8, true), ('M4', 'Spare', 'Wheel', 'c4', $1, NULL, false)`,
      [HASH],
    );
    await this.serve();
    return this;
  }

  async serve() {
    this.server = new Program('latido', ['serve'], this.variables, this.#home);
    this.port = Number(await this.server.says(/"address":"127\.0\.0\.1:(\d+)"/));
    // A restarted server comes back at the same address.
    this.variables.PORT = String(this.port);
    await until('it is ready', async () => {
      if (!this.server.alive) throw new Error(this.server.printed);
      return (await fetch(`${this.url}/ready`).catch(() => undefined))?.ok;
    });
    await until('the rows are known', async () => (await this.stats(token({ id: 1, rol: 'admin' }))).totalModules === 4);
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async stats(bearer) {
    const answer = await fetch(`${this.url}/api/modules/stats`, { headers: { authorization: `Bearer ${bearer}` } });
    return answer.json();
  }

  page(options) {
    const page = new Page(this.url, options);
    this.#pages.push(page);
    return page;
  }

  /** A page of somebody with a token, on a page of the site. */
  async user(id, page, rol = 'user') {
    return this.page({ auth: { token: token({ id, rol }) } }).authenticate({ userId: String(id), userType: 'user', page });
  }

  admin(page = 'admin') {
    return this.user(1, page, 'admin');
  }

  device(id, password) {
    const device = new Device(`${this.url.replace('http', 'ws')}/esp32`, id, password);
    this.#devices.push(device);
    return device;
  }

  emit(method, body, key = API_KEY) {
    const headers = { 'x-api-key': key, 'content-type': 'application/json' };
    return fetch(`${this.url}/api/modules/emit/${method}`, { method: 'POST', headers, body: JSON.stringify(body) });
  }

  /** Ends the clients of a test. */
  async clear() {
    for (const page of this.#pages.splice(0)) page.close();
    for (const device of this.#devices.splice(0)) device.kill();
    const nobody = async () => (await this.stats(token({ id: 1, rol: 'admin' }))).onlineModules === 0;
    await until('no module is online', nobody);
  }

  async end() {
    for (const page of this.#pages) page.close();
    for (const device of this.#devices) device.kill();
    await this.sql?.end();
    await this.server?.end('SIGKILL');
    await this.#demo?.end('SIGINT');
    rmSync(this.#home, { recursive: true, force: true });
  }
}
