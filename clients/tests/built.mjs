/** Where cargo puts the programs that the tests start: CARGO_TARGET_DIR and cargo's configuration move it. */

import { spawnSync } from 'node:child_process';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

function targetFolder() {
  const { stdout } = spawnSync('cargo', ['metadata', '--format-version', '1', '--no-deps'], {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return stdout ? JSON.parse(stdout).target_directory : join(ROOT, 'target');
}

/** The folder of the debug build, absolute; LATIDO_BUILT names another one. */
export function builtFolder() {
  return process.env.LATIDO_BUILT ? resolve(process.env.LATIDO_BUILT) : join(targetFolder(), 'debug');
}

/** The server's program; LATIDO_BIN names another one. */
export function serverProgram() {
  return process.env.LATIDO_BIN ? resolve(process.env.LATIDO_BIN) : join(builtFolder(), 'latido');
}
