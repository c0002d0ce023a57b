/** The commands of docs/getting-started.md, as they are written. */

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { after, before, it } from 'node:test';

import pg from 'pg';

import { builtFolder } from '../built.mjs';
import { until } from '../apps/harness/program.mjs';
import { Demo } from '../demo.mjs';

const clients = join(import.meta.dirname, '../..');
const packages = join(clients, 'node_modules');
const demo = new Demo();
const folder = join(demo.home, 'tienda');
const PATH = `${builtFolder()}:${join(packages, '.bin')}:${process.env.PATH}`;
let shell;

before(() => demo.start());

after(async () => {
  // The group has the server and what follows it.
  if (shell?.pid) {
    try {
      process.kill(-shell.pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  }
  await demo.end();
});

/** The commands of the sections from one heading to another. */
function commands(from, to) {
  const text = readFileSync(join(clients, '../docs/getting-started.md'), 'utf8');
  const steps = text.slice(text.indexOf(from), text.indexOf(to));
  return [...steps.matchAll(/```sh\n(.*?)```/gs)].map(([, block]) => block);
}

async function freePort() {
  const probe = net.createServer();
  await new Promise((listening) => probe.listen(0, '127.0.0.1', listening));
  const { port } = probe.address();
  await new Promise((closed) => probe.close(closed));
  return port;
}

it('leads to numbers that follow each sale', async (test) => {
  if (spawnSync('psql', ['--version']).status !== 0) {
    console.error('latido: the tutorial was NOT followed: psql is needed');
    return test.diagnostic('psql is needed');
  }
  const client = new pg.Client({ ...demo.server, database: 'latido' });
  await client.connect();
  await client.query('CREATE DATABASE tutorial');
  await client.end();
  const blocks = commands('## 1. A database', '## 5. The page');
  assert.equal(blocks.length, 9);
  // The address of a database of the reader's own, and packages from a registry: what the clients' tests have here.
  const [address, ...others] = blocks;
  assert.match(address, /DATABASE_URL/);
  const steps = others.filter((block) => !block.includes('npm pack'));
  assert.equal(steps.length, 7);
  const port = String(await freePort());
  let script = steps.join('\n').replaceAll('8090', port);
  // What a reader follows in a terminal of its own, and the sale in another.
  script = script.replace(/^(latido watch .*)$/m, '$1 --json > watched.log &\nuntil grep -q importe watched.log; do sleep 0.1; done');
  script = script.replace(/^node ventas\.mjs$/m, 'node ventas.mjs > printed.log &\nuntil grep -q orders printed.log; do sleep 0.1; done\necho ready; wait');
  mkdirSync(folder);
  symlinkSync(packages, join(folder, 'node_modules'));
  const DATABASE_URL = `postgresql://postgres@/tutorial?host=${encodeURIComponent(demo.server.host)}&port=5432&sslmode=disable`;
  shell = spawn('bash', ['-euo', 'pipefail', '-c', script], {
    cwd: folder,
    env: { PATH, HOME: demo.home, DATABASE_URL, HOST: '127.0.0.1' },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  for (const stream of [shell.stdout, shell.stderr]) stream.on('data', (text) => (printed += text));
  await until('every step was done', () => {
    assert.ok(shell.exitCode === null, printed);
    return /^ready$/m.test(printed);
  });
  assert.match(printed, /lineas \(cantidad, pedido_id, precio\) by pedido_id > pedidos\.tienda_id/);
  const read = (name) => readFileSync(join(folder, name), 'utf8');
  // 25 and 30 and 20, and the sale of 99.
  assert.match(read('watched.log'), /"importe":75\.00.*\n.*"importe":174\.00/s);
  assert.match(read('printed.log'), /^2 orders, 8 units, 174\.00$/m);
  const sale = new pg.Client({ ...demo.server, database: 'tutorial' });
  await sale.connect();
  await sale.query('INSERT INTO lineas VALUES (2, 1, 1)');
  await sale.end();
  await until('the next sale is there', () => /^2 orders, 9 units, 175\.00$/m.test(read('printed.log')));
});

it('leads to an Angular page that compiles', (test) => {
  if (!existsSync(join(folder, 'streams.ts'))) return test.diagnostic('psql is needed');
  const blocks = commands('## 5. The page', '## Beside an existing database');
  assert.equal(blocks.length, 2);
  const { version } = JSON.parse(readFileSync(join(packages, '@angular/cli/package.json'), 'utf8'));
  // The packages of a registry: what the clients' tests have here. Of the own one, what is published.
  const [made, built] = blocks;
  const created = made.replace(`npx --yes @angular/cli@${version} `, 'ng ').replace(/^npm install .*$/m, '');
  assert.doesNotMatch(created, /npx|npm/);
  const panel = join(folder, 'panel/node_modules');
  run(created);
  mkdirSync(join(panel, '@latido'), { recursive: true });
  for (const name of readdirSync(packages)) {
    if (name !== '@latido') symlinkSync(join(packages, name), join(panel, name));
  }
  symlinkSync(join(clients, 'angular/dist'), join(panel, '@latido/angular'));
  run(`cd panel\n${built}`);
  assert.match(readFileSync(join(folder, 'panel/dist/panel/browser/index.html'), 'utf8'), /<app-root>/);
});

/** Runs commands in the reader's folder, and asserts that they succeed. */
function run(script) {
  const env = { PATH, HOME: demo.home, LATIDO_TOKEN: 'x', NG_CLI_ANALYTICS: 'false' };
  const ended = spawnSync('bash', ['-euo', 'pipefail', '-c', script], { cwd: folder, env, encoding: 'utf8' });
  assert.equal(ended.status, 0, ended.stdout + ended.stderr);
}
