/** A WebSocket where one gets through, else an event stream; and how a stream of events is taken apart. */

import assert from 'node:assert/strict';
import { afterEach, describe, it, mock } from 'node:test';

import fc from 'fast-check';
import { Latido } from 'latido';
import { EventStream, withFallback } from 'latido/sse';
import { WebSocket } from 'ws';

import { eventParser } from '../src/events.js';
import { EventServer } from './harness/events.js';
import { fakes, settled } from './harness/fake.js';
import { Seen } from './harness/watching.js';

describe('a socket with a fallback', () => {
  afterEach(() => mock.timers.reset());

  it('is an event stream where no WebSocket gets through', async () => {
    const server = await new EventServer().start();
    const latido = new Latido(server.url, { token: 'a.b.c', WebSocket: withFallback(WebSocket), random: () => 0 });
    const seen = new Seen();
    latido.watch('totales', seen);
    const request = (await server.request(1)).answers();
    request.value('totales', 1);
    await seen.first();
    request.response.end();
    await seen.was('connecting', 'lost');
    (await server.request(2)).answers().value('totales', 2);
    await seen.another();
    assert.deepEqual(seen.errors, []);
    latido.close();
    server.end();
  });

  it('is the WebSocket where one does, and stays it', async () => {
    mock.timers.enable({ apis: ['setTimeout'] });
    const { sockets, WebSocket } = fakes();
    const heard: string[] = [];
    const socket = new (withFallback(WebSocket))('ws://a/ws', ['bearer', 'x']);
    socket.onopen = () => heard.push('open');
    socket.onmessage = ({ data }) => heard.push(data);
    socket.onclose = ({ code }) => heard.push(`${code}`);
    sockets[0]!.open();
    mock.timers.tick(60_000);
    socket.send('{"type":"ping"}');
    sockets[0]!.says('pong');
    sockets[0]!.ends(1006);
    await settled();
    assert.deepEqual([heard, sockets[0]!.sent, sockets.length], [['open', 'pong', '1006'], [{ type: 'ping' }], 1]);
  });

  it('is an event stream after a WebSocket that has not opened in time', async () => {
    mock.timers.enable({ apis: ['setTimeout'] });
    const { sockets, WebSocket } = fakes();
    let opened = 0;
    const socket = new (withFallback(WebSocket))('ws://a/ws', ['bearer', 'x']);
    socket.onopen = () => opened++;
    mock.timers.tick(4999);
    await settled();
    assert.deepEqual([opened, sockets[0]!.isClosed], [0, false]);
    mock.timers.tick(1);
    await settled();
    assert.deepEqual([opened, sockets[0]!.isClosed], [1, true]);
    socket.close();
  });

  it('leaves nothing behind when it is closed before it has opened', async () => {
    mock.timers.enable({ apis: ['setTimeout'] });
    const { sockets, WebSocket } = fakes();
    const socket = new (withFallback(WebSocket))('ws://a/ws', ['bearer', 'x']);
    socket.onopen = () => assert.fail();
    socket.close();
    assert.ok(sockets[0]!.isClosed);
    mock.timers.tick(60_000);
    await settled();
    assert.equal(sockets.length, 1);
  });

  it('is an event stream at once in a runtime that has no WebSocket', () => {
    const { WebSocket } = globalThis;
    Object.assign(globalThis, { WebSocket: undefined });
    assert.equal(withFallback(), EventStream);
    Object.assign(globalThis, { WebSocket });
  });
});

describe('a stream of events', () => {
  const line = () => fc.string({ unit: fc.constantFrom('a', ':', ' ', 'ñ', '\u2028', '{', '"'), maxLength: 8 });
  const event = () => fc.record({ event: line(), data: fc.array(line(), { minLength: 1, maxLength: 3 }), retry: fc.option(line(), { nil: undefined }) });

  it('is taken apart in whatever pieces it comes, and whatever ends its lines', () => {
    const pieces = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 9 });
    fc.assert(
      fc.property(fc.array(event(), { maxLength: 5 }), pieces, fc.constantFrom('\n', '\r\n', '\r'), (events, sizes, end) => {
        const lines = events.flatMap(({ event, data, retry }) => [
          `event: ${event}`,
          ': a comment',
          ...data.map((value) => `data: ${value}`),
          ...(retry === undefined ? [] : [`retry: ${retry}`]),
          'id: 7',
          '',
        ]);
        const text = lines.map((value) => value + end).join('');
        const parse = eventParser();
        const found = [];
        for (let at = 0, turn = 0; at < text.length; turn++) {
          const size = sizes[turn % sizes.length]!;
          found.push(...parse(text.slice(at, at + size)));
          at += size;
        }
        // The last line's end may be half of one.
        found.push(...parse('\n'));
        assert.deepEqual(
          found.slice(0, events.length),
          events.map(({ event, data, retry }) => ({ event, data, ...(retry === undefined ? {} : { retry }) })),
        );
      }),
    );
  });

  it('is read as the server writes it', () => {
    const parse = eventParser();
    assert.deepEqual(parse('event:ventas\nid:7\ndata:{"type":"ventas","v":7}\n\n:\n\n'), [
      { event: 'ventas', data: ['{"type":"ventas","v":7}'] },
      { event: '', data: [] },
    ]);
    assert.deepEqual(parse('retry:3000\n:restarting\n\n'), [{ event: '', data: [], retry: '3000' }]);
  });
});
