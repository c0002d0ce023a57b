/** What pages load from `/socket.io/` is the official client, unchanged. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

const entry = createRequire(import.meta.url).resolve('socket.io-client');
const packaged = entry.slice(0, entry.lastIndexOf('socket.io-client') + 'socket.io-client'.length);
const sources = join(dirname(new URL(import.meta.url).pathname), '../../../../internal/socketio/src');
const read = (...path) => readFileSync(join(...path), 'utf8');

for (const name of ['socket.io.min.js', 'socket.io.esm.min.js', 'socket.io.msgpack.min.js']) {
  test(`${name} is the one of the npm package`, () => {
    assert.equal(read(sources, 'assets', name), read(packaged, 'dist', name));
  });
}

test('the entity tag names the version of the package', () => {
  const { version } = JSON.parse(read(packaged, 'package.json'));
  assert.ok(read(sources, 'client_files.rs').includes(`CLIENT_VERSION: &str = "${version}"`));
});
