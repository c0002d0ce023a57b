/** The dashboard and the publishers on HTTP; kills, storms and the server's end. */

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';

import { until } from '../harness/program.mjs';
import { KEY, World } from './world.mjs';

const world = new World();
// The API answers from this busy process, to a crowd.
before(() => world.start({ GATEWAY_API_TIMEOUT_SECONDS: '60' }));
after(() => world.end());
afterEach(() => world.leave());

describe('publishers', () => {
  test('by the prefix: 200 as the older publisher counts it, 202 under /api', async () => {
    const body = { type: 'pago:procesado', data: { cliente_id: 1, proveedor_id: 9, monto: 5 } };
    const provider = await world.enter('proveedor', 9);
    assert.deepEqual(await world.post('/dashboard/emit-event', body), { status: 200, text: '{"success":true,"message":"Evento emitido"}' });
    assert.equal((await provider.next('payment_created')).monto, 5);
    assert.equal((await world.post('/api/dashboard/emit-event', body)).status, 202);
    assert.equal((await world.post('/dashboard/cleanup', {})).status, 201);
  });

  test('roles, users and everybody', async () => {
    const [client, second, provider] = [await world.enter('cliente', 7), await world.enter('cliente', 7, '/ws'), await world.enter('proveedor', 9)];
    await world.post('/dashboard/notify-role', { role: 'cliente', event: 'promo', payload: { a: 1 } });
    for (const socket of [client, second]) assert.deepEqual(await socket.next('promo'), { a: 1 });
    await world.post('/dashboard/notify-user', { userId: 9, event: 'aviso', payload: 'hola' });
    assert.equal(await provider.next('aviso'), 'hola');
    await world.post('/dashboard/emit-event', { type: 'system_notification', data: { message: 'mantenimiento', type: 'warning' } });
    for (const socket of [client, second, provider]) {
      assert.deepEqual(await socket.next('system_notification'), { message: 'mantenimiento', type: 'warning' });
    }
    await world.post('/dashboard/update-dashboard', { activas: 3 });
    assert.deepEqual(await second.next('dashboard:metrics', ({ activas }) => activas === 3), { activas: 3 });
    await provider.settle();
    assert.ok(!provider.names().includes('promo'));
  });

  test('a stranger publishes nothing', async () => {
    const body = { type: 'reserva:creada', data: {} };
    for (const headers of [{}, { 'x-api-key': 'wrong' }, { 'x-forwarded-for': '8.8.8.8' }, { origin: 'https://evil.example' }]) {
      assert.equal((await world.post('/dashboard/emit-event', body, headers)).status, 401);
    }
    assert.equal((await world.post('/dashboard/emit-event', body, { authorization: `Bearer ${KEY}`, 'x-forwarded-for': '8.8.8.8' })).status, 200);
    const huge = await world.post('/dashboard/emit-event', { type: 'a', data: 'x'.repeat(400_000) });
    assert.equal(huge.status, 413);
  });
});

describe('dashboard', () => {
  test('an administrator reads with the token of the API', async () => {
    const get = (authorization) => fetch(`${world.url}/dashboard`, { headers: { authorization, 'x-forwarded-for': '8.8.8.8' } });
    assert.equal((await get('Token nadie-1')).status, 200);
    assert.equal((await get('Token cliente-7')).status, 401);
  });

  test('the page is there, and holds nobody\'s data', async () => {
    const response = await fetch(`${world.url}/dashboard.html`);
    assert.match(response.headers.get('content-type'), /text\/html/);
    assert.match(await response.text(), /Panel del gateway/);
  });

  test('true numbers', async () => {
    const before = await world.get('/dashboard');
    await world.enter('cliente', 7);
    await world.enter('proveedor', 9);
    await world.enter('admin', 1, '/ws');
    const { metrics, clients, rooms } = await world.get('/dashboard');
    assert.equal(metrics.totalConnections - before.metrics.totalConnections, 3);
    assert.deepEqual([metrics.activeConnections, clients.total, clients.byRole], [3, 3, { cliente: 1, proveedor: 1, admin: 1 }]);
    assert.equal(rooms.total, 6);
    const stats = await world.get('/dashboard/stats');
    assert.deepEqual([stats.activeConnections, stats.totalRooms], [3, 6]);
    const api = await world.get('/dashboard/api-status');
    assert.deepEqual([api.status, typeof api.responseTime], ['connected', 'number']);
    const rows = await world.get('/api/dashboard/clients');
    assert.equal(rows.clients.length, 3);
  });
});

describe('storms', () => {
  const CROWD = 200;
  const count = async () => (await world.get('/dashboard/stats')).activeConnections;

  test('killed clients leave nothing behind, and those who come back find their rooms', async () => {
    const enter = () => Promise.all(Array.from({ length: CROWD }, (_, i) => world.enter(i % 2 ? 'cliente' : 'proveedor', 1000 + i, i % 3 ? '/' : '/ws')));
    const first = await enter();
    assert.equal(await count(), CROWD);
    for (const client of first) client.kill();
    const second = await enter();
    await until('the killed are gone', async () => (await count()) === CROWD);
    const rows = await world.get('/dashboard/clients');
    const there = new Set(second.map(({ id }) => id));
    assert.ok(rows.every(({ socketId, userId }) => there.has(socketId) && userId));
    const posted = await world.post('/dashboard/notify-user', { userId: 1001, event: 'aviso', payload: 1 });
    assert.equal(posted.status, 200);
    assert.equal(await second[1].next('aviso'), 1);
    world.leave();
    await until('all have left', async () => (await count()) === 0);
    assert.deepEqual(await world.get('/dashboard/rooms'), []);
  });
});

test('the server ends its clients and itself, in time', async () => {
  const other = await new World().start({ SHUTDOWN_SECONDS: '60' });
  after(() => other.django.end());
  const clients = [await other.enter('cliente', 7), await other.enter('cliente', 8, '/', { transports: ['polling'] }), await other.connect('/ws')];
  const ended = other.server.end('SIGTERM');
  await Promise.all(clients.map((client) => client.gone));
  await ended;
  // Any other code means that clients were left at the deadline.
  assert.equal(other.server.exitCode, 0, other.server.printed);
});
