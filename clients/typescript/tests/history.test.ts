/** The history of a channel: who asks for it, and who gets it. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Latido } from 'latido';
import { EventStream } from 'latido/sse';

import { connected, fake } from './harness/connected.js';
import { EventServer } from './harness/events.js';
import { settled } from './harness/fake.js';
import { until } from './harness/until.js';
import { Seen } from './harness/watching.js';

interface Row {
  n: number;
}

/** An observer that remembers histories too. */
class Chart extends Seen<{ v: number }> {
  readonly histories: (Row[] | null)[] = [];
  /** How many values had come by each. */
  readonly before: number[] = [];

  readonly history = true;

  rows(rows: Row[] | null): void {
    this.histories.push(rows);
    this.before.push(this.values.length);
  }
}

const subscribe = (channel: string, history?: true) => ({ type: 'subscribe', data: { channel, ...(history && { history }) } });
const rows = (...numbers: number[]) => numbers.map((n) => ({ n }));

describe('a history', () => {
  it('is asked for by whoever takes it, and comes before the first value', async () => {
    const { latido, sockets } = fake();
    const chart = new Chart();
    latido.watch<{ v: number }, Row>('a:1', chart);
    latido.watch('b:1', new Seen());
    await settled();
    const socket = sockets[0]!.open();
    assert.deepEqual(socket.sent, [subscribe('a:1', true), subscribe('b:1')]);
    socket.says({ type: 'history', channel: 'a:1', data: rows(1, 2) });
    socket.says({ type: 'history', channel: 'b:1', data: rows(9) });
    socket.value('a:1', 1);
    assert.deepEqual([chart.histories, chart.before, chart.values], [[rows(1, 2)], [0], [{ v: 1 }]]);
    assert.deepEqual(chart.states, ['connecting', 'open']);
    latido.close();
  });

  it('is asked for anew by who comes late, and replaces that of the others', async () => {
    const { latido, socket, seen } = await connected();
    socket.value('a:1', 1);
    const charts = [new Chart(), new Chart()];
    for (const chart of charts) latido.watch<{ v: number }, Row>('a:1', chart);
    assert.deepEqual(socket.sent, [subscribe('a:1'), subscribe('a:1', true), subscribe('a:1', true)]);
    await settled();
    for (const n of [1, 2]) {
      socket.says({ type: 'subscribed', data: { channel: 'a:1' } });
      socket.says({ type: 'history', channel: 'a:1', data: rows(n) });
      // The current value comes again, and is no news.
      socket.value('a:1', 1);
    }
    for (const chart of charts) assert.deepEqual([chart.histories, chart.values], [[rows(1), rows(2)], [{ v: 1 }]]);
    assert.deepEqual([seen.values, seen.states], [[{ v: 1 }], ['connecting', 'open']]);
    latido.close();
  });

  it('is asked for again after a lost connection, also where the value is the same', async () => {
    const { latido, sockets, clock } = fake();
    const chart = new Chart();
    latido.watch<{ v: number }, Row>('a:1', chart);
    await settled();
    sockets[0]!.open().says({ type: 'history', channel: 'a:1', data: rows(1) });
    sockets[0]!.value('a:1', 5);
    sockets[0]!.ends(1012);
    await clock.pass(1000);
    const socket = sockets[1]!.open();
    assert.deepEqual(socket.sent, [subscribe('a:1', true)]);
    socket.says({ type: 'history', channel: 'a:1', data: rows(1, 2) });
    socket.value('a:1', 5);
    assert.deepEqual([chart.histories, chart.values], [[rows(1), rows(1, 2)], [{ v: 5 }]]);
    latido.close();
  });

  it('is null where there is none, and the values go on', async () => {
    const { latido, sockets } = fake();
    const chart = new Chart();
    latido.watch<{ v: number }, Row>('a:1', chart);
    await settled();
    const socket = sockets[0]!.open();
    const error = { code: 'no_history', message: 'this stream has no history' };
    socket.says({ type: 'history', channel: 'a:1', data: null, error });
    socket.value('a:1', 1);
    assert.deepEqual([chart.histories, chart.values, chart.errors], [[null], [{ v: 1 }], []]);
    assert.deepEqual(chart.states, ['connecting', 'open']);
    latido.close();
  });

  it('comes by an event stream too', async () => {
    const server = await new EventServer().start();
    const latido = new Latido(server.url, { token: () => 'a.b.c', WebSocket: EventStream, random: () => 0 });
    const chart = new Chart();
    latido.watch('totales', new Seen());
    latido.watch<{ v: number }, Row>('a:1', chart);
    const request = (await server.request(1)).answers();
    const { searchParams } = request.url;
    assert.deepEqual([request.channels, searchParams.getAll('history')], [['totales'], ['a:1']]);
    request.says('history', { type: 'history', channel: 'a:1', data: rows(1) });
    request.value('a:1', 1);
    await until('the value has come', () => chart.values.length === 1);
    assert.deepEqual([chart.histories, chart.before], [[rows(1)], [0]]);
    latido.close();
    server.end();
  });
});
