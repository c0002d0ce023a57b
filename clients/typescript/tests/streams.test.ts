/** Streams with several key parts, without a key, and with parameters, from the real server, by every transport. */

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { Latido, type LatidoOptions } from 'latido';
import { channel } from 'latido/channel';
import { EventStream, withFallback } from 'latido/sse';
import { WebSocket } from 'ws';

import { Proxy } from './harness/proxy.js';
import { token, World, type Server } from './harness/server.js';
import { until } from './harness/until.js';
import { Seen } from './harness/watching.js';

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
history = """
SELECT u.tienda, u.caja, u.desde, v.dia, v.total
FROM unnest($1::bigint[], $2::text[], $3::date[], $4::date[]) AS u (tienda, caja, hoy, desde)
JOIN ventas v ON v.tienda = u.tienda AND v.caja = u.caja AND v.dia >= u.desde ORDER BY v.dia"""
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
let variables: Record<string, string>;
let server: Server;

before(async () => {
  await world.start();
  await world.execute(TABLES);
  variables = await world.install(STREAMS);
  server = await world.serve(variables);
});

after(async () => {
  for (const latido of clients) latido.close();
  await world.end();
});

function dashboard(options: Partial<LatidoOptions> = {}): Latido {
  const latido = new Latido(server.url, { token: token({ rol: 'admin_sistema' }), ...options });
  clients.push(latido);
  return latido;
}

function watched<T>(latido: Latido, name: string): Seen<T> {
  const seen = new Seen<T>();
  latido.watch<T>(name, seen);
  return seen;
}

for (const [transport, Socket] of [
  ['a WebSocket', WebSocket],
  ['an event stream', EventStream],
] as const) {
  const connected = () => dashboard({ WebSocket: Socket });

  describe(`streams of every form, by ${transport},`, () => {
    it('send what their channels name, and what changes', async () => {
      const latido = connected();
      const caja = [7, 'a/b'] as const;
      const all = watched<Total>(latido, channel('ventas', caja));
      const november = watched<Total>(latido, channel('ventas', caja, { desde: new Date(2026, 10, 1) }));
      const spelled = watched<Total>(latido, 'ventas:007/a%2fb?desde=2000-01-01');
      const totals = watched<Total>(latido, channel('totales'));
      const seen = [all, november, spelled, totals];
      const before = (await Promise.all(seen.map((one) => one.first()))).map(({ total }) => total);
      const [every, later, same, sum] = before as [number, number, number, number];
      assert.deepEqual([later, same, sum], [every - 1, every, every + 4]);
      await world.execute("INSERT INTO ventas VALUES (7, 'a/b', '2026-12-01', 10)");
      await until('every number has changed', () => seen.every(({ newest }, index) => newest.total === before[index]! + 10));
      assert.deepEqual(new Set(seen.flatMap(({ states }) => states)), new Set(['connecting', 'open']));
    });

    it('send a history first to whoever asks for it, and say where there is none', async () => {
      const latido = connected();
      const plain = watched<Total>(latido, channel('totales'));
      await plain.first();
      const all: [string, { dia: string; total: number }[] | null][] = [];
      const ask = (name: string) => {
        const seen = new Seen<Total>();
        const took = (rows: { dia: string; total: number }[] | null) => {
          assert.deepEqual(seen.values, [], name);
          all.push([name, rows]);
        };
        latido.watch(name, { next: (value: Total) => seen.next(value), history: true, rows: took });
        return seen;
      };
      const names = [channel('ventas', [8, 'c'], { desde: '2026-10-02' }), channel('ventas', [9, 'z']), channel('cocientes', 2)];
      await Promise.all(names.map((name) => ask(name).first()));
      assert.deepEqual(new Map(all), new Map([[names[0], [{ dia: '2026-11-01', total: 4 }]], [names[1], []], [names[2], null]]));
      assert.deepEqual(plain.states, ['connecting', 'open']);
    });

    it('refuse a channel that names none, and no other', async () => {
      const latido = connected();
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
      await world.execute('UPDATE divisores SET valor = 2');
      const latido = connected();
      const [one, other] = [1, 2].map((id) => watched<{ cociente: number }>(latido, channel('cocientes', id))) as [Seen<any>, Seen<any>];
      await until('both are there', () => one.newest?.cociente === 50 && other.newest?.cociente === 50);
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
}

describe('an event stream of the real server', () => {
  /** Counts the requests of this client alone. */
  function counted(options: Partial<LatidoOptions> = {}) {
    const made: string[] = [];
    const Counted = class extends EventStream {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        made.push(protocols[1]!);
      }
    };
    return { latido: dashboard({ WebSocket: Counted, ...options }), made };
  }

  it('refuses every channel with its own reason', async () => {
    const { latido } = counted({ token: token({}) });
    const bad = watched(latido, channel('ventas', [8, 'c'], { desde: 'ayer' }));
    const forbidden = watched(latido, channel('ventas', [8, 'c']));
    const unknown = watched(latido, 'nada:1');
    await bad.is('closed', 'invalid_key');
    await forbidden.is('closed', 'forbidden');
    await unknown.is('closed', 'unknown_channel');
  });

  it('is asked for with a new token before the old one ends', async () => {
    const reasons: string[] = [];
    const { latido, made } = counted({
      token: ({ reason }) => (reasons.push(reason), token({ rol: 'admin_sistema' }, reason === 'connect' ? 63 : 3600)),
    });
    const seen = watched<Total>(latido, 'totales');
    await seen.first();
    await until('it is renewed', () => reasons.length > 1);
    const had = seen.values.length;
    await world.execute("INSERT INTO ventas VALUES (9, 'z', '2026-12-01', 1)");
    await until('it goes on', () => seen.values.length > had);
    assert.deepEqual([reasons, made.length, seen.states], [['connect', 'expiring'], 1, ['connecting', 'open']]);
  });

  it('is asked for with a new token after the old one has ended', async () => {
    const reasons: string[] = [];
    const { latido } = counted({
      token: ({ reason }) => (reasons.push(reason), token({ rol: 'admin_sistema' }, reason === 'connect' ? 3 : 3600)),
    });
    const seen = watched<Total>(latido, 'totales');
    await seen.first();
    await seen.was('connecting', 'lost');
    await seen.is('open');
    assert.deepEqual([reasons, seen.errors], [['connect', 'refused'], []]);
  });

  it('comes back after the server was restarted, and after it was killed', async () => {
    const own = await world.serve(variables);
    const latido = new Latido(own.url, { token: token({ rol: 'admin_sistema' }), WebSocket: EventStream });
    clients.push(latido);
    const seen = [watched<Total>(latido, 'totales'), watched<Total>(latido, channel('ventas', [7, 'a/b']))];
    for (const [signal, code] of [
      ['SIGTERM', 'restarting'],
      ['SIGKILL', 'lost'],
    ] as const) {
      await Promise.all(seen.map((one) => one.is('open')));
      const had = seen.map((one) => one.values.length);
      await own.end(signal);
      await Promise.all(seen.map((one) => one.was('connecting', code)));
      await own.start();
      await world.execute("INSERT INTO ventas VALUES (7, 'a/b', '2026-12-01', 1)");
      await until('numbers move again', () => seen.every((one, index) => one.values.length > had[index]!));
    }
    assert.deepEqual(seen.flatMap((one) => one.errors), []);
  });

  it('says that numbers are old while the database is away', async () => {
    const network = await Proxy.to({ path: world.socket });
    const own = await world.serve({ ...variables, SWEEP_SECONDS: '1' }, network.port);
    const latido = new Latido(own.url, { token: token({ rol: 'admin_sistema' }), WebSocket: EventStream });
    clients.push(latido);
    const seen = watched<Total>(latido, 'totales');
    await seen.first();
    network.mode = 'refuse';
    network.cut();
    const { since } = await seen.is('stale');
    assert.ok(since! > 1_700_000_000);
    const late = watched<Total>(latido, channel('ventas', [7, 'a/b']));
    await late.is('stale');
    await seen.is('stale');
    network.mode = 'pass';
    await Promise.all([seen.is('open'), late.is('open')]);
    await late.first();
    assert.deepEqual([seen.errors, late.errors], [[], []]);
    latido.close();
    await own.end('SIGKILL');
    network.end();
  });

  it('takes the place of a WebSocket that does not get through', async () => {
    class Blocked extends WebSocket {
      constructor() {
        super('ws://127.0.0.1:9/ws');
      }
    }
    const seen = watched<Total>(dashboard({ WebSocket: withFallback(Blocked as never) }), 'totales');
    await seen.first();
    assert.deepEqual(seen.states, ['connecting', 'open']);
  });
});
