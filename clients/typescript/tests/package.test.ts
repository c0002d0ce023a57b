/** What is published. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';

import { build } from 'esbuild';

/** Of gzip -9 of the minified bundle of each entry. */
const LARGEST_BYTES = { latido: 2500, 'latido/channel': 320, 'latido/sse': 1700 };

async function bundle(code: string): Promise<Uint8Array> {
  const stdin = { contents: code, resolveDir: '.', loader: 'ts' as const };
  const { outputFiles } = await build({ stdin, bundle: true, minify: true, format: 'esm', target: 'es2022', write: false });
  return outputFiles[0]!.contents;
}

describe('the package', () => {
  it('is small', async (test) => {
    for (const [entry, largest] of Object.entries(LARGEST_BYTES)) {
      const bytes = gzipSync(await bundle(`export * from '${entry}'`), { level: 9 }).length;
      test.diagnostic(`${entry}: ${bytes} bytes`);
      assert.ok(bytes <= largest, `${entry}: ${bytes} bytes, of at most ${largest}`);
    }
  });

  it('leaves nothing where nothing of it is used', async () => {
    assert.equal((await bundle("import { Latido } from 'latido'")).length, 0);
  });

  it('needs nothing', () => {
    const { dependencies, peerDependencies } = JSON.parse(readFileSync('package.json', 'utf8'));
    assert.deepEqual([dependencies, peerDependencies], [undefined, undefined]);
  });
});
