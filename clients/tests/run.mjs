/** Runs `*.test.mjs` of each folder beside this file against the real program: the systems' official clients, and migration tools. */

import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const files = readdirSync(here, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.test.mjs'));
const wanted = process.argv.slice(2);
const chosen = files.filter((name) => wanted.length === 0 || wanted.some((word) => name.includes(word))).sort();
// One after the other: each starts a server and a database.
const flags = ['--test', '--test-reporter=spec', '--test-timeout=600000', '--test-concurrency=1'];
const { status } = spawnSync(process.execPath, [...flags, ...chosen.map((name) => join(here, name))], { stdio: 'inherit' });
process.exit(status ?? 1);
