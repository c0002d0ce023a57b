/** A demo of one test file: its private database, and a folder that is gone with it. */

import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Program } from './apps/harness/program.mjs';

export class Demo {
  home = mkdtempSync(join(tmpdir(), 'latido-demo-'));
  /** How `pg` reaches the private database's server. */
  server;
  #program;

  async start() {
    // Where the tests run as root, Postgres does not.
    chmodSync(this.home, 0o711);
    const variables = { HOME: this.home, XDG_STATE_HOME: this.home, HOST: '127.0.0.1', PORT: '0' };
    this.#program = new Program('latido', ['demo'], variables, this.home);
    await this.#program.says(/Latido is running: (\S+)/);
    this.server = { host: await this.#program.says(/psql '\S*[?&]host=([^&']+)/), port: 5432, user: 'postgres' };
  }

  async end() {
    await this.#program?.end('SIGINT');
    rmSync(this.home, { recursive: true, force: true });
  }
}
