/** What is published. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';

import { build } from 'esbuild';

/** Of gzip -9 of the minified bundle. */
const LARGEST_BYTES = 2500;

async function bundle(code: string): Promise<Uint8Array> {
  const stdin = { contents: code, resolveDir: '.', loader: 'ts' as const };
  const { outputFiles } = await build({ stdin, bundle: true, minify: true, format: 'esm', target: 'es2022', write: false });
  return outputFiles[0]!.contents;
}

describe('the package', () => {
  it('is small', async (test) => {
    const bytes = gzipSync(await bundle("export * from 'latido'"), { level: 9 }).length;
    test.diagnostic(`${bytes} bytes`);
    assert.ok(bytes <= LARGEST_BYTES, `${bytes} bytes, of at most ${LARGEST_BYTES}`);
  });

  it('leaves nothing where nothing of it is used', async () => {
    assert.equal((await bundle("import { Latido } from 'latido'")).length, 0);
  });

  it('needs nothing', () => {
    const { dependencies, peerDependencies } = JSON.parse(readFileSync('package.json', 'utf8'));
    assert.deepEqual([dependencies, peerDependencies], [undefined, undefined]);
  });
});
