/** The commands of docs/getting-started.md, as they are written, up to the page of Angular. */

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { after, before, it } from 'node:test';

import pg from 'pg';

import { builtFolder } from '../built.mjs';
import { until } from '../apps/harness/program.mjs';
import { Demo } from '../demo.mjs';

const clients = join(import.meta.dirname, '../..');
const demo = new Demo();
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

/** The commands of the numbered sections before the page. */
function commands() {
  const text = readFileSync(join(clients, '../docs/getting-started.md'), 'utf8');
  const steps = text.slice(text.indexOf('## 1. A database'), text.indexOf('## 5. The page'));
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
  const blocks = commands();
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
  const folder = join(demo.home, 'tienda');
  mkdirSync(folder);
  symlinkSync(join(clients, 'node_modules'), join(folder, 'node_modules'));
  const DATABASE_URL = `postgresql://postgres@/tutorial?host=${encodeURIComponent(demo.server.host)}&port=5432&sslmode=disable`;
  const PATH = `${builtFolder()}:${join(clients, 'node_modules/.bin')}:${process.env.PATH}`;
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
