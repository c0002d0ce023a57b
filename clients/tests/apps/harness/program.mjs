/** A program of this repository, started for one test file and ended with it. */

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';

import { builtFolder } from '../../built.mjs';

const BUILT = builtFolder();

/** A port that was free a moment ago. */
export async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

/** The longest wait for an expected event, in ms. It is generous because it measures nothing. */
export const PATIENCE_MS = 120_000;

/** Waits for a condition; never for a time. */
export async function until(what, condition) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((next) => setTimeout(next, 10));
  }
}

export class Program {
  printed = '';
  #child;

  /** @param {string} name below the build's folder, `latido` or `examples/…` */
  constructor(name, args = [], env = {}, cwd = undefined) {
    const file = join(BUILT, name);
    if (!existsSync(file)) throw new Error(`${file} is not there: cargo build --bins --examples`);
    this.#child = spawn(file, args, { cwd, env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) stream.on('data', (text) => (this.printed += text));
    process.once('exit', () => this.#child.kill('SIGKILL'));
  }

  get alive() {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get pid() {
    return this.#child.pid;
  }

  get exitCode() {
    return this.#child.exitCode;
  }

  /** The first group of `pattern`, once it was printed. */
  async says(pattern) {
    await until(`${pattern} is printed`, () => pattern.test(this.printed) || !this.alive);
    const found = pattern.exec(this.printed);
    if (!found) throw new Error(`the program ended: ${this.printed}`);
    return found[1];
  }

  async answers(url) {
    await until(`${url} answers`, () => {
      if (!this.alive) throw new Error(`the program ended: ${this.printed}`);
      return fetch(url).then(() => true, () => false);
    });
  }

  async end(signal = 'SIGTERM') {
    this.#child.kill(signal);
    await until(`the program ends with ${signal}`, () => !this.alive);
  }
}
