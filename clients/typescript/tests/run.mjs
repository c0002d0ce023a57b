/** Compiles the tests, which node 20 could not read, and runs them with node's own runner. The package is the built one. */

import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';

import { build } from 'esbuild';

import { serverProgram } from '../../tests/built.mjs';

const names = readdirSync('tests').filter((name) => name.endsWith('.test.ts'));
await build({
  entryPoints: names.map((name) => `tests/${name}`),
  outdir: 'build',
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  sourcemap: 'inline',
  outExtension: { '.js': '.mjs' },
});
const files = names.map((name) => `build/${name.replace('.ts', '.mjs')}`);
// Node 20 has a WebSocket, but hides it.
const flags = ['--experimental-websocket', '--enable-source-maps', '--test', '--test-reporter=spec', '--test-timeout=600000'];
const env = { ...process.env, LATIDO_BIN: serverProgram() };
process.exit(spawnSync(process.execPath, [...flags, ...process.argv.slice(2), ...files], { stdio: 'inherit', env }).status ?? 1);
