#!/usr/bin/env node
// Serves the dashboard that was built, with a server behind it: one that is named, a demo that already runs, or one that this starts.
//
//   node serve/main.mjs [--server URL] [--latido PROGRAM] [--port N]

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { findDemo, startDemo } from './demo.mjs';
import { listen } from './server.mjs';

const FOLDER = fileURLToPath(new URL('../dist/', import.meta.url));
const DEFAULT_PORT = 4200;

const { values: options } = parseArgs({
  options: { server: { type: 'string' }, latido: { type: 'string' }, port: { type: 'string' } },
});

function fail(message) {
  console.error(message);
  process.exit(1);
}

if (!existsSync(`${FOLDER}index.html`)) fail('the dashboard is not built yet: npm run build');

const port = Number(options.port ?? process.env.APP_PORT ?? DEFAULT_PORT);
if (!Number.isInteger(port) || port < 0 || port > 65_535) fail(`not a port: ${options.port ?? process.env.APP_PORT}`);

/** The process that was started here, if any. */
let demo;
let app;
let isStopping = false;

async function stop(code) {
  if (isStopping) return;
  isStopping = true;
  app?.closeAllConnections();
  app?.close();
  await demo?.stop();
  process.exit(code);
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => (isStopping ? demo?.kill() : void stop(0)));
}

try {
  let server = options.server ?? (await findDemo());
  if (!server) {
    demo = await startDemo(options.latido ?? 'latido', (code) => void stop(code));
    server = demo.address;
  }
  app = await listen(FOLDER, new URL(server), port, options.port === undefined && process.env.APP_PORT === undefined);
  const { port: taken } = app.address();
  console.log(`\nThe dashboard is running: http://127.0.0.1:${taken}/\n  behind it: ${server}\n  for a wall screen: http://127.0.0.1:${taken}/?vista=todos\nCtrl-C stops everything.`);
} catch (error) {
  console.error(error.message);
  await stop(1);
}
