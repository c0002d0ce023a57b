/** The types that `latido types --typescript` writes, for the compiler and beside the frames of the real server. */

import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, it } from 'node:test';

import { Latido } from 'latido';
import { channel } from 'latido/channel';
import ts from 'typescript';
import { WebSocket } from 'ws';

import { token, World } from './harness/server.js';
import { until } from './harness/until.js';

const TABLES = `
  CREATE TYPE turno AS ENUM ('mañana', 'tarde');
  CREATE DOMAIN importe AS numeric(10, 2);
  CREATE TABLE ventas (tienda bigint, turno turno, dia date, total importe, pagada boolean, detalle jsonb);
  CREATE INDEX ON ventas (tienda, turno);
  INSERT INTO ventas VALUES (7, 'tarde', '2026-11-01', 2.5, true, '{"a": [1]}')`;

const STREAMS = `
builtin_streams = false

[streams.ventas-por-turno]
query = """
SELECT u.tienda, u.turno, u.desde, u.orden, s.*
FROM unnest($1::bigint[], $2::turno[], $3::date[], $4::date[], $5::text[]) AS u (tienda, turno, hoy, desde, orden)
CROSS JOIN LATERAL (
  SELECT count(*) AS "número", sum(v.total)::importe AS total, bool_and(v.pagada) AS pagadas, jsonb_agg(v.detalle) AS detalle,
         max(v.dia) AS "último día", sum(v.total)::text AS exacto
  FROM ventas v WHERE v.tienda = u.tienda AND v.turno = u.turno AND v.dia >= u.desde) s"""
keys = ["tienda", "turno"]
event = "ventas"
[streams.ventas-por-turno.params]
desde = { type = "date" }
orden = { type = "enum", values = ["alza", "baja"], default = "alza" }
[[streams.ventas-por-turno.tables]]
table = "ventas"
key = ["tienda", "turno"]

[streams.totales]
query = "SELECT s.n FROM unnest($1::date[]) AS u (hoy) CROSS JOIN LATERAL (SELECT count(*)::int AS n FROM ventas v) s"
keys = []
[[streams.totales.tables]]
table = "ventas"

# A reserved word of TypeScript.
[streams.turnos]
query = "SELECT u.turno AS class, 1 AS n FROM unnest($1::turno[]) AS u (turno)"
keys = ["class"]
tables = []
`;

/** Every line after a `@ts-expect-error` must fail, and no other. */
const PROGRAM = `
import { Latido } from 'latido';
import { channel } from 'latido/channel';
import type { Streams, VentasPorTurno, VentasPorTurnoParams } from './streams.js';

const latido = new Latido<Streams>('ws://127.0.0.1/ws', { token: '' });
const id: number = 7;

latido.watch('ventas-por-turno:7/tarde?desde=2026-11-01', {
  next(value) {
    const key: string = value.tienda;
    const total: number | null = value.total;
    const count: number | null = value['número'];
    const paid: boolean | null = value.pagadas;
    const day: string | null = value['último día'];
    const exact: string | null = value.exacto;
    const at: number = value.timestamp;
    const whole: VentasPorTurno = value;
    const detail: unknown = value.detalle;
    // @ts-expect-error It may be null.
    value.total.toFixed();
    // @ts-expect-error There is no such column.
    value.totl;
    console.log(key, total, count, paid, day, exact, at, whole, detail);
  },
});
latido.watch(\`ventas-por-turno:\${id}/tarde\`, { next: (value) => value.exacto });
latido.watch('totales', { next: ({ n }) => n });
latido.last('totales')?.n;
for await (const { n } of latido.watch('totales')) {
  const count: number | null = n;
  console.log(count);
}
// @ts-expect-error Another stream has this column.
latido.watch('totales', { next: ({ exacto }) => exacto });
// @ts-expect-error No stream has this name, so nothing is known of its value.
latido.watch('vnetas:7', { next: (value) => value.total });
// A name that is known later, and a type by hand, as without Streams.
latido.watch<{ n: number }>(String(id), { next: ({ n }) => n });
new Latido('ws://127.0.0.1/ws', { token: '' }).watch<{ n: number }>('totales', { next: ({ n }) => n });

const params: VentasPorTurnoParams = { desde: new Date() };
const key: Streams['ventas-por-turno']['key'] = [7n, 'tarde'];
latido.watch(channel('ventas-por-turno', key, params), { next: ({ exacto }) => exacto });
// @ts-expect-error There is no such column.
latido.watch(channel('ventas-por-turno', key, params), { next: ({ exact }) => exact });
const reserved: Streams['turnos']['key'] = ['tarde'];
latido.watch(channel('turnos', reserved), { next: (value) => value.class });
// @ts-expect-error One without a default is missing.
const incomplete: VentasPorTurnoParams = { orden: 'baja' };
// @ts-expect-error It is no value of the enum.
const unknown: VentasPorTurnoParams = { desde: '2026-11-01', orden: 'otro' };
// @ts-expect-error It is no label of the key's type.
const wrong: Streams['ventas-por-turno']['key'] = [7, 'noche'];
console.log(incomplete, unknown, wrong);
`;

const world = new World();
// Below this package, whose name the program imports.
const folder = join(process.cwd(), 'build', 'types');
let variables: Record<string, string>;

before(async () => {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await world.start();
  await world.execute(TABLES);
  variables = await world.install(STREAMS);
  await world.writeTypes(variables, join(folder, 'streams.ts'));
});

after(() => world.end());

it('tell the compiler what each channel sends', () => {
  const file = join(folder, 'program.ts');
  writeFileSync(file, PROGRAM);
  const compiled = ts.createProgram([file], {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    types: [],
    lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'],
  });
  const found = ts.getPreEmitDiagnostics(compiled).map(({ file, start, messageText }) => {
    const line = file && start !== undefined ? file.getLineAndCharacterOfPosition(start).line + 1 : 0;
    return `${file?.fileName}:${line}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
  });
  assert.deepEqual(found, []);
});

it('are those of the values', async () => {
  const server = await world.serve(variables);
  const latido = new Latido(server.url, { token: token({ rol: 'admin_sistema' }), WebSocket });
  let value: Record<string, unknown> | undefined;
  latido.watch<Record<string, unknown>>(channel('ventas-por-turno', [7, 'tarde'], { desde: '2026-01-01' }), {
    next: (newest) => (value = newest),
  });
  await until('a value is there', () => value !== undefined);
  latido.close();
  const { timestamp, ...columns } = value!;
  assert.equal(typeof timestamp, 'number');
  assert.deepEqual(columns, {
    tienda: '7',
    turno: 'tarde',
    'número': 1,
    total: 2.5,
    pagadas: true,
    detalle: [{ a: [1] }],
    'último día': '2026-11-01',
    exacto: '2.50',
  });
});
