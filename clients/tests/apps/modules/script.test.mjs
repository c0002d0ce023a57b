/** What pages load from `/socket.io/socket.io.js` is the official client, unchanged. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

test('the script is the one of the npm package', () => {
  const entry = createRequire(import.meta.url).resolve('socket.io-client');
  const folder = entry.slice(0, entry.lastIndexOf('socket.io-client') + 'socket.io-client'.length);
  const packaged = readFileSync(join(folder, 'dist/socket.io.min.js'), 'utf8');
  const here = dirname(new URL(import.meta.url).pathname);
  const ours = readFileSync(join(here, '../../../../internal/apps/modules/src/assets/socket.io.min.js'), 'utf8');
  assert.equal(ours, packaged);
});
