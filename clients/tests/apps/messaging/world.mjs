/** A private Postgres with the messaging tables, servers on it that can be killed, and clients of either `phoenix` version. */

import { execFileSync, spawn } from 'node:child_process';
import { createHmac, randomUUID } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import WebSocket from 'ws';

import { serverProgram } from '../../built.mjs';
import { PATIENCE_MS, until } from '../harness/program.mjs';

const BINARY = serverProgram();
const SECRET = 'a secret of this test run alone, long enough';

/** A token of this user. */
export function token(sub, lifetimeS = 3600) {
  const now = Math.floor(Date.now() / 1000);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub, iat: now, exp: now + lifetimeS })}`;
  return `${body}.${createHmac('sha256', SECRET).update(body).digest('base64url')}`;
}

function psql() {
  const folders = ['/usr/lib/postgresql', '/usr/pgsql'].filter(existsSync);
  const installed = folders.flatMap((folder) => readdirSync(folder).map((version) => join(folder, version, 'bin/psql')));
  const all = [process.env.PG_BIN && join(process.env.PG_BIN, 'psql'), ...installed.reverse(), '/usr/bin/psql'];
  const found = all.find((path) => path && existsSync(path));
  if (!found) throw new Error('psql is needed: set PG_BIN');
  return found;
}

export class World {
  #home = mkdtempSync(join(tmpdir(), 'latido-messaging-'));
  #children = new Set();

  constructor() {
    process.once('exit', () => this.#children.forEach((child) => child.kill('SIGKILL')));
  }

  async start() {
    chmodSync(this.#home, 0o711);
    const demo = this.#run('demo', { PORT: '0', XDG_STATE_HOME: this.#home });
    await until('the demo runs', () => /psql '/.test(demo.printed) && /Latido is running/.test(demo.printed));
    this.folder = /psql '\S*[?&]host=([^&']+)/.exec(demo.printed)[1];
    this.url = `postgresql://postgres@/latido?host=${this.folder}&port=5432`;
    const install = this.#run('install', { DATABASE_URL: this.url, LATIDO_APPS: 'messaging' });
    await until('the tables are installed', () => install.child.exitCode !== null);
    if (install.child.exitCode !== 0) throw new Error(install.printed);
    return this;
  }

  /** Runs SQL as somebody else would; the first column of what it gives. */
  sql(text) {
    const args = ['-h', this.folder, '-U', 'postgres', '-d', 'latido', '-qAt', '-v', 'ON_ERROR_STOP=1', '-c', text];
    return execFileSync(psql(), args, { encoding: 'utf8' }).trim();
  }

  /** Users who are in one conversation. */
  conversation(count = 2) {
    const users = Array.from({ length: count }, () => randomUUID());
    const id = this.sql(`INSERT INTO conversations (type) VALUES ('group') RETURNING id`);
    const members = users.map((user) => `('${id}', '${user}')`);
    this.sql(`INSERT INTO conversation_members (conversation_id, user_id) VALUES ${members.join(', ')}`);
    return { id, topic: `conversation:${id}`, users };
  }

  async serve(variables = {}) {
    const server = new Server((port) => {
      const all = { DATABASE_URL: this.url, TIMEZONE: 'America/Guayaquil', LATIDO_APPS: 'messaging', ...variables };
      return this.#run('serve', { ...all, PORT: String(port) });
    });
    return server.start();
  }

  async end() {
    for (const child of this.#children) if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    await until('all have ended', () => [...this.#children].every((child) => child.exitCode !== null || child.signalCode !== null));
    rmSync(this.#home, { recursive: true, force: true });
  }

  #run(command, variables) {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is not there: cargo build`);
    const { PATH, PG_BIN } = process.env;
    const env = { PATH, ...(PG_BIN && { PG_BIN }), HOME: this.#home, HOST: '127.0.0.1', JWT_SECRET: SECRET, ...variables };
    const child = spawn(BINARY, [command], { cwd: this.#home, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#children.add(child);
    const program = { child, printed: '' };
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (program.printed += text));
    return program;
  }
}

/** A server that comes back at the same port. */
class Server {
  port = 0;
  #spawn;
  #program;

  constructor(spawnAt) {
    this.#spawn = spawnAt;
  }

  async start() {
    const program = (this.#program = this.#spawn(this.port));
    const address = /"address":"127\.0\.0\.1:(\d+)"/;
    await until('it listens', () => {
      if (program.child.exitCode !== null) throw new Error(program.printed);
      return address.test(program.printed);
    });
    this.port = Number(address.exec(program.printed)[1]);
    await until('it is ready', async () => (await fetch(`http://127.0.0.1:${this.port}/ready`).catch(() => undefined))?.ok);
    return this;
  }

  async kill(signal = 'SIGKILL') {
    const { child } = this.#program;
    child.kill(signal);
    await until('it is dead', () => child.exitCode !== null || child.signalCode !== null);
  }
}

/** A device of a user: the official client, and what it has heard. */
export class Device {
  /** Contents of `new_message` on the conversation's channel, in order. */
  heard = [];
  pending = [];
  closes = [];

  constructor(phoenix, server, user, { path = '/messaging/socket', ...options } = {}) {
    this.phoenix = phoenix;
    this.user = user;
    const params = options.authToken ? {} : { token: options.token ?? token(user) };
    this.socket = new phoenix.Socket(`ws://127.0.0.1:${server.port}${path}`, { transport: WebSocket, params, ...options });
    this.socket.onClose((event) => this.closes.push(event?.code));
    this.socket.connect();
  }

  /** Joins the user's channel. */
  async arrive() {
    const channel = (this.mine = this.socket.channel(`user:${this.user}`));
    channel.on('pending_message', (message) => this.pending.push(message.content));
    let synced = 0;
    channel.on('sync_complete', () => synced++);
    await this.#joined(channel);
    await until('it is synchronised', () => synced > 0);
    return this;
  }

  /** Joins a conversation. */
  async enter(topic) {
    const channel = (this.channel = this.socket.channel(topic));
    channel.on('new_message', ({ message }) => this.heard.push(message.content));
    await this.#joined(channel);
    return this;
  }

  #joined(channel) {
    return new Promise((done, fail) => {
      channel.join().receive('ok', done).receive('error', (why) => fail(new Error(JSON.stringify(why))));
    });
  }

  /** Pushes, and gives the answer. */
  push(event, payload, { channel = this.channel, ms = PATIENCE_MS } = {}) {
    return new Promise((done, fail) => {
      const push = channel.push(event, payload, ms);
      push.receive('ok', done).receive('error', (why) => fail(new Error(JSON.stringify(why)))).receive('timeout', () => fail(new Error('timeout')));
    });
  }

  send(content, client_random = Math.floor(Math.random() * 1e6), ms = PATIENCE_MS) {
    return this.push('new_message', { message_type: 'text', content, client_random }, { ms });
  }

  leave() {
    return new Promise((done) => this.socket.disconnect(done));
  }
}
