/** The names of channels. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import fc from 'fast-check';
import { channel } from 'latido/channel';

/** What the server makes of a name with several parts or parameters. */
function read(name: string) {
  const [path, query] = name.split('?');
  const [stream, key] = path!.split(':');
  return { stream, parts: key?.split('/').map(decodeURIComponent) ?? [], params: Object.fromEntries(new URLSearchParams(query)) };
}

const text = () => fc.string({ unit: 'grapheme', maxLength: 12 });

describe("a channel's name", () => {
  it('has the parts of the key, then the parameters', () => {
    for (const [name, made] of [
      ['ventas:7/3?desde=2026-11-01', channel('ventas', [7, 3], { desde: '2026-11-01' })],
      ['totales', channel('totales')],
      ['totales?dia=2026-11-01', channel('totales', [], { dia: new Date(2026, 10, 1) })],
      ['ventas:7', channel('ventas', 7)],
      ['ventas:6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a11', channel('ventas', ['6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a11'])],
      ['ventas:9007199254740993/true', channel('ventas', [9007199254740993n, true])],
      ['ventas:0/', channel('ventas', [0, ''])],
      ['ventas:7?abierta=false&n=0', channel('ventas', 7, { n: 0, abierta: false, desde: undefined, hasta: null })],
    ]) {
      assert.equal(made, name);
    }
  });

  it('is decoded to what it was made of, however the parts are written', () => {
    const key = fc.array(text(), { minLength: 2, maxLength: 4 });
    const params = fc.dictionary(text(), text());
    fc.assert(
      fc.property(key, params, (parts, params) => {
        const { __proto__: _, ...chosen } = params as Record<string, string>;
        assert.deepEqual(read(channel('ventas', parts, chosen)), { stream: 'ventas', parts, params: chosen });
      }),
    );
  });

  it('holds a single part as it is, unless the stream has parameters', () => {
    for (const part of ['a/b', 'a b', 'x?y=1', '100%', 'ñ']) {
      assert.equal(channel('salas', part), `salas:${part}`);
      assert.equal(channel('salas', [part]), `salas:${part}`);
      assert.equal(channel('salas', part, {}), `salas:${encodeURIComponent(part)}`);
    }
  });

  it('is one for one choice, in whatever order it is made', () => {
    const names = [channel('v', 7, { a: 1, b: 2 }), channel('v', 7, { b: 2, a: 1 })];
    assert.deepEqual(names, ['v:7?a=1&b=2', 'v:7?a=1&b=2']);
  });

  it('has the day of a date as people see it here', () => {
    const { TZ } = process.env;
    try {
      for (const zone of ['UTC', 'America/Mexico_City', 'Pacific/Kiritimati', 'Pacific/Pago_Pago']) {
        process.env['TZ'] = zone;
        for (const hour of [0, 12, 23]) assert.equal(channel('dias', new Date(2026, 1, 28, hour)), 'dias:2026-02-28', zone);
      }
    } finally {
      if (TZ === undefined) delete process.env['TZ'];
      else process.env['TZ'] = TZ;
    }
  });

  it('is made of no nonsense', () => {
    assert.throws(() => channel('dias', new Date('nonsense')), RangeError);
    assert.throws(() => channel('v', ['\ud800', 1]), URIError);
  });
});
