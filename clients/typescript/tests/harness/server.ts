/** The real server, on a private Postgres of its own: both are this run's alone. */

import { spawn, type ChildProcess } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Client } from 'pg';

import { until } from './until.js';

const SECRET = 'a secret of this test run alone, long enough';
/** Named by run.mjs, which asks cargo. */
const BINARY = process.env['LATIDO_BIN'] ?? 'LATIDO_BIN';

export interface Business {
  id: string;
  nombre: string;
}

/** A token as the REST API would sign it. */
export function token(claims: { negocios?: string[]; rol?: string; id?: string }, lifetimeS = 3600): string {
  const now = Math.floor(Date.now() / 1000);
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ id: 'test', iat: now, exp: now + lifetimeS, ...claims })}`;
  return `${body}.${createHmac('sha256', SECRET).update(body).digest('base64url')}`;
}

/** What `latido` prints, line by line as a whole. */
class Program {
  printed = '';
  readonly #child: ChildProcess;

  constructor(command: string | readonly string[], home: string, variables: Record<string, string>) {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is not there: cargo build`);
    const { PATH, PG_BIN } = process.env;
    const env = { PATH, ...(PG_BIN && { PG_BIN }), HOME: home, PORT: '0', HOST: '127.0.0.1', JWT_SECRET: SECRET, ...variables };
    this.#child = spawn(BINARY, [command].flat(), { cwd: home, env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) stream.on('data', (text: Buffer) => (this.printed += text));
    process.once('exit', () => this.#child.kill('SIGKILL'));
  }

  /** The first group of `pattern`, once it was printed. */
  async says(pattern: RegExp): Promise<string> {
    await until(`${pattern} is printed`, () => pattern.test(this.printed) || !this.#isAlive());
    const found = pattern.exec(this.printed)?.[1];
    if (!found) throw new Error(`the server ended: ${this.printed}`);
    return found;
  }

  #isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    this.#child.kill(signal);
    await until(`the server ends with ${signal}`, () => !this.#isAlive());
  }

  /** Waits until it has done its work. */
  async succeeds(): Promise<void> {
    await until('the program ends', () => !this.#isAlive());
    if (this.#child.exitCode !== 0) throw new Error(`it failed: ${this.printed}`);
  }
}

/** A server that can be killed and started again at the same address. */
export class Server {
  port = 0;
  #program: Program | undefined;

  constructor(
    readonly home: string,
    readonly variables: Record<string, string>,
  ) {}

  get url(): string {
    return `ws://127.0.0.1:${this.port}/ws`;
  }

  async start(): Promise<this> {
    const program = new Program('serve', this.home, { ...this.variables, PORT: String(this.port) });
    this.#program = program;
    this.port = Number(await program.says(/"address":"127\.0\.0\.1:(\d+)"/));
    await until('it is ready', async () => (await fetch(`http://127.0.0.1:${this.port}/ready`).catch(() => undefined))?.ok ?? false);
    return this;
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.#program?.end(signal);
  }
}

/** A demo: its database, its businesses, and a writer that changes something every second or two. */
export class World {
  businesses: Business[] = [];
  /** Of the private database, by its socket. */
  socket = '';
  #page = '';
  readonly #home = mkdtempSync(join(tmpdir(), 'latido-client-'));
  #demo: Program | undefined;
  readonly #servers: Server[] = [];

  async start(): Promise<void> {
    // Where the tests run as root, Postgres does not.
    chmodSync(this.#home, 0o711);
    this.#demo = new Program('demo', this.#home, { XDG_STATE_HOME: this.#home });
    this.#page = await this.#demo.says(/Latido is running: (\S+)/);
    this.socket = `${await this.#demo.says(/psql '\S*[?&]host=([^&']+)/)}/.s.PGSQL.5432`;
    const session = await fetch(`${this.#page}demo/session`);
    this.businesses = ((await session.json()) as { negocios: Business[] }).negocios;
  }

  /** The folder of the private database's socket. */
  get #folder(): string {
    return this.socket.replace('/.s.PGSQL.5432', '');
  }

  #variables(more: Record<string, string>, databasePort?: number): Record<string, string> {
    const database = databasePort ? `127.0.0.1:${databasePort}/latido?sslmode=disable` : `/latido?host=${this.#folder}&port=5432`;
    return { DATABASE_URL: `postgresql://postgres@${database}`, TIMEZONE: 'America/Guayaquil', ...more };
  }

  /** Runs SQL on the private database. */
  async execute(sql: string): Promise<void> {
    const client = new Client({ host: this.#folder, port: 5432, user: 'postgres', database: 'latido' });
    await client.connect();
    await client.query(sql).finally(() => client.end());
  }

  /** Installs the streams of a `latido.toml`, and returns the variables of a server with them. */
  async install(toml: string): Promise<Record<string, string>> {
    const file = join(this.#home, 'latido.toml');
    writeFileSync(file, toml);
    const variables = { LATIDO_CONFIG: file };
    await new Program('install', this.#home, this.#variables(variables)).succeeds();
    return variables;
  }

  /** Writes the types of the streams of these variables to a file. */
  async writeTypes(variables: Record<string, string>, file: string): Promise<void> {
    const command = ['types', '--typescript', '--out', file];
    await new Program(command, this.#home, this.#variables(variables)).succeeds();
  }

  /** Another server on the same database. `databasePort`: where it is reached, instead of its socket. */
  async serve(variables: Record<string, string> = {}, databasePort?: number): Promise<Server> {
    const all = this.#variables(variables, databasePort);
    const server = new Server(this.#home, all);
    this.#servers.push(server);
    return server.start();
  }

  /** A cita, as somebody at the counter would book it. */
  async book(business: Business): Promise<void> {
    const body = JSON.stringify({ negocio_id: business.id });
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(`${this.#page}demo/citas`, { method: 'POST', headers, body });
    if (answer.status !== 201) throw new Error(`booked nothing: ${answer.status} ${await answer.text()}`);
  }

  async end(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.end('SIGKILL')));
    await this.#demo?.end('SIGINT');
    rmSync(this.#home, { recursive: true, force: true });
  }
}
