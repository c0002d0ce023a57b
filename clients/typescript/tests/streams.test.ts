/** Streams with several key parts, without a key, and with parameters, from the real server. */

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { Latido, type LatidoOptions } from 'latido';
import { channel } from 'latido/channel';

import { token, World, type Server } from './harness/server.js';
import { until } from './harness/until.js';
import { client, Seen, type Wire } from './harness/watching.js';

const TABLES = `
  CREATE TABLE ventas (tienda bigint, caja text, dia date, total int);
  CREATE INDEX ON ventas (tienda, caja);
  CREATE TABLE divisores (id bigint PRIMARY KEY, valor int NOT NULL);
  INSERT INTO ventas VALUES (7, 'a/b', '2026-10-01', 1), (7, 'a/b', '2026-11-01', 2), (8, 'c', '2026-11-01', 4);
  INSERT INTO divisores VALUES (1, 2), (2, 5)`;

const STREAMS = `
builtin_streams = false

[streams.ventas]
query = """
SELECT u.tienda, u.caja, u.desde, s.total
FROM unnest($1::bigint[], $2::text[], $3::date[], $4::date[]) AS u (tienda, caja, hoy, desde)
CROSS JOIN LATERAL (
  SELECT coalesce(sum(v.total), 0)::int AS total FROM ventas v
  WHERE v.tienda = u.tienda AND v.caja = u.caja AND v.dia >= u.desde) s"""
keys = ["tienda", "caja"]
[streams.ventas.params]
desde = { type = "date", default = "2000-01-01" }
[[streams.ventas.tables]]
table = "ventas"
key = ["tienda", "caja"]

[streams.totales]
query = "SELECT s.total FROM unnest($1::date[]) AS u (hoy) CROSS JOIN LATERAL (SELECT sum(v.total)::int AS total FROM ventas v) s"
keys = []
[[streams.totales.tables]]
table = "ventas"

[streams.cocientes]
query = "SELECT u.id, 100 / d.valor AS cociente FROM unnest($1::bigint[], $2::date[]) AS u (id, hoy) JOIN divisores d ON d.id = u.id"
key_field = "id"
[[streams.cocientes.tables]]
table = "divisores"
key = "id"
`;

interface Total {
  total: number;
}

const world = new World();
const clients: Latido[] = [];
let server: Server;

before(async () => {
  await world.start();
  await world.execute(TABLES);
  server = await world.serve(await world.install(STREAMS));
});

after(async () => {
  for (const latido of clients) latido.close();
  await world.end();
});

function dashboard(options: Partial<LatidoOptions> = {}): { latido: Latido; wire: Wire } {
  const made = client(server.url, { token: token({ rol: 'admin_sistema' }), ...options });
  clients.push(made.latido);
  return made;
}

function watched<T>(latido: Latido, name: string): Seen<T> {
  const seen = new Seen<T>();
  latido.watch<T>(name, seen);
  return seen;
}

describe('streams of every form', () => {
  it('send what their channels name, and what changes', async () => {
    const { latido } = dashboard();
    const caja = [7, 'a/b'] as const;
    const all = watched<Total>(latido, channel('ventas', caja));
    const november = watched<Total>(latido, channel('ventas', caja, { desde: new Date(2026, 10, 1) }));
    const spelled = watched<Total>(latido, 'ventas:007/a%2fb?desde=2000-01-01');
    const totals = watched<Total>(latido, channel('totales'));
    const first = await Promise.all([all, november, spelled, totals].map((seen) => seen.first()));
    assert.deepEqual(first.map(({ total }) => total), [3, 2, 3, 7]);
    await world.execute("INSERT INTO ventas VALUES (7, 'a/b', '2026-12-01', 10)");
    await until('every number has changed', () => [all, november, spelled, totals].every((seen) => seen.values.length > 1));
    assert.deepEqual([all, november, spelled, totals].map(({ newest }) => newest.total), [13, 12, 13, 17]);
  });

  it('refuse a channel that names none, and no other', async () => {
    const { latido } = dashboard();
    const good = watched<Total>(latido, channel('ventas', [8, 'c']));
    for (const [name, code, message] of [
      [channel('ventas', 8), 'invalid_key', /expected ventas:<tienda>\/<caja>/],
      [channel('ventas', ['x', 'c']), 'invalid_key', /tienda: expected an integer/],
      [channel('ventas', [8, 'c'], { desde: 'ayer' }), 'invalid_key', /desde: expected a date/],
      [channel('ventas', [8, 'c'], { hasta: '2026-11-01' }), 'invalid_key', /no parameter "hasta"/],
      ['totales:7', 'unknown_channel', /no such channel/],
    ] as const) {
      const bad = watched(latido, name);
      const { error } = await bad.is('closed', code);
      assert.match(error!.message, message, name);
      assert.deepEqual(bad.errors, [error]);
    }
    await good.first();
    assert.deepEqual([good.states, good.errors, latido.status.state], [['connecting', 'open'], [], 'open']);
  });

  it('mark the channel that can not be read, until it can', async () => {
    const { latido } = dashboard();
    const [one, other] = [1, 2].map((id) => watched<{ cociente: number }>(latido, channel('cocientes', id))) as [Seen<any>, Seen<any>];
    await Promise.all([one.first(), other.first()]);
    await world.execute('UPDATE divisores SET valor = 0 WHERE id = 1');
    const { error } = await one.is('stale', 'unavailable');
    assert.match(error!.message, /cannot be read/);
    await world.execute('UPDATE divisores SET valor = 4 WHERE id = 2');
    await until('the other goes on', () => other.newest.cociente === 25);
    assert.equal(one.newest.cociente, 50, 'the last number stays');
    await world.execute('UPDATE divisores SET valor = 10 WHERE id = 1');
    await one.is('open');
    await until('it is read again', () => one.newest.cociente === 10);
    assert.deepEqual(other.states, ['connecting', 'open']);
    assert.deepEqual(one.states.filter((state, index, all) => state !== all[index - 1]), ['connecting', 'open', 'stale', 'open']);
    assert.deepEqual([one.errors, other.errors], [[], []]);
  });
});
