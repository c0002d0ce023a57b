/** The official Socket.IO client against the real server. */

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';

import { until } from '../harness/program.mjs';
import { World } from './world.mjs';

const world = new World();
before(() => world.start());
after(() => world.end());
afterEach(() => {
  world.leave();
  world.django.mode = 'well';
});

const RESERVATION = { clienteId: 7, proveedorId: 9, servicioId: 3, fecha: '2026-01-01T10:00:00Z', estado: 'pendiente' };
const SPELLED = { ...RESERVATION, cliente_id: 7, proveedor_id: 9, servicio_id: 3 };

for (const [how, options] of [
  ['polling alone', { transports: ['polling'] }],
  ['websocket alone', { transports: ['websocket'] }],
  ['polling, then websocket', { transports: ['polling', 'websocket'] }],
]) {
  describe(how, () => {
    test('a reservation, from the client to its provider', async () => {
      const client = await world.enter('cliente', 7, '/', options);
      const provider = await world.enter('proveedor', 9, '/', options);
      if (options.transports.length === 2) {
        await until('both are upgraded', () => [client, provider].every(({ socket }) => socket.io.engine.transport.name === 'websocket'));
      }
      client.emit('reservation_created', RESERVATION);
      const event = await provider.next('event');
      assert.deepEqual([event.type, event.data, event.from], ['reservation_created', SPELLED, '7']);
      assert.match(event.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      assert.deepEqual(await provider.next('reservation_created'), SPELLED);
      provider.emit('reservation_accepted', RESERVATION);
      assert.equal((await client.next('event')).type, 'reservation_accepted');
      assert.deepEqual(await client.next('reservation_accepted'), SPELLED);
      await client.settle();
      assert.deepEqual(client.heard, []);
    });

    test('a second socket of the same user hears the same', async () => {
      const sockets = await Promise.all([1, 2, 3].map(() => world.enter('proveedor', 9, '/', options)));
      const client = await world.enter('cliente', 7, '/', options);
      sockets[0].socket.disconnect();
      client.emit('comment_created', { clienteId: 7, proveedorId: 9, servicioId: 3, texto: '¡Qué bien!' });
      for (const socket of sockets.slice(1)) assert.equal((await socket.next('comment_created')).texto, '¡Qué bien!');
      assert.deepEqual(sockets[0].heard, []);
    });

    test('a burst comes in order, and none is lost', async () => {
      const provider = await world.enter('proveedor', 9, '/', options);
      for (let i = 0; i < 60; i++) await world.post('/dashboard/notify-user', { userId: 9, event: 'aviso', payload: { i } });
      for (let i = 0; i < 60; i++) assert.deepEqual(await provider.next('aviso'), { i });
    });
  });
}

describe('identity', () => {
  async function attempt(claim, namespace = '/') {
    const client = await world.connect(namespace);
    client.emit('authenticate', claim);
    const message = await Promise.race([client.next('auth_success'), client.next('auth_error')]).catch(String);
    return { client, message };
  }

  test('the answer has the id as it came, of whatever type', async () => {
    for (const id of [7, '7']) {
      const { client, message } = await attempt({ token: 'cliente-7', userId: id, role: 'cliente' });
      assert.deepEqual(message, { message: 'Autenticación exitosa', userId: id, role: 'cliente', socketId: client.id });
    }
  });

  for (const [why, claim] of [
    ['another user', { token: 'cliente-7', userId: 8, role: 'cliente' }],
    ['another role', { token: 'cliente-7', userId: 7, role: 'proveedor' }],
    ['an administrator, who is none', { token: 'cliente-7', userId: 7, role: 'admin' }],
    ['no such token', { token: 'nonsense', userId: 7, role: 'cliente' }],
    ['no token', { userId: 7, role: 'cliente' }],
    ['an id that is none', { token: 'cliente-7', userId: { $ne: 1 }, role: 'cliente' }],
    ['a role that is none', { token: 'cliente-7', userId: 7, role: 'root' }],
    ['a token with a line break', { token: 'cliente-7\r\nX: y', userId: 7, role: 'cliente' }],
    ['nothing at all', undefined],
  ]) {
    test(`refused: ${why}`, async () => {
      for (const namespace of ['/', '/ws']) {
        const { client, message } = await attempt(claim, namespace);
        assert.deepEqual(message, { message: 'Token inválido' });
        client.emit('join_room', { roomName: 'service_1' });
        assert.deepEqual(await client.next('error'), { message: 'No autenticado' });
      }
    });
  }

  test('refused: the API says 403, or that the token is another\'s', async () => {
    for (const mode of ['forbidden', 'other']) {
      world.django.mode = mode;
      const { message } = await attempt({ token: `cliente-${mode === 'other' ? 71 : 72}`, userId: mode === 'other' ? 71 : 72, role: 'cliente' });
      assert.deepEqual(message, { message: 'Token inválido' }, mode);
    }
  });

  test('administrators are those of our own list', async () => {
    const { message } = await attempt({ token: 'nadie-1', userId: 1, role: 'admin' });
    assert.equal(message.role, 'admin');
    assert.deepEqual((await attempt({ token: 'nadie-3', userId: 3, role: 'admin' })).message, { message: 'Token inválido' });
  });

  test('an API that is slow, down or mad lets nobody in, and nobody is harmed', async () => {
    const insider = await world.enter('cliente', 500);
    let id = 100;
    for (const mode of ['slow', 'broken', 'garbage', 'huge']) {
      world.django.mode = mode;
      id += 1;
      const { message } = await attempt({ token: `cliente-${id}`, userId: id, role: 'cliente' });
      assert.deepEqual(message, { message: 'Error en autenticación' }, mode);
    }
    world.django.mode = 'redirect';
    const asked = world.django.asked.length;
    await attempt({ token: 'cliente-120', userId: 120, role: 'cliente' });
    assert.equal(world.django.asked.length, asked + 1, 'the redirect is not followed');
    const { message } = await attempt({ token: 'cliente-121', userId: 121, role: 'cliente' });
    assert.deepEqual(message, { message: 'Error en autenticación' });
    assert.equal(world.django.asked.length, asked + 1, 'after five failures it is left alone');
    const status = await world.get('/dashboard/api-status');
    assert.equal(status.status, 'disconnected');
    assert.match(status.error, /302/);
    insider.emit('ping', 1);
    assert.equal((await insider.next('pong')).data, 1);
    world.django.mode = 'well';
    await until('somebody is let in again', async () => (await attempt({ token: 'cliente-130', userId: 130, role: 'cliente' })).message.role);
    assert.equal((await world.get('/dashboard/api-status')).status, 'connected');
  });

  test('too many refusals end the socket', async () => {
    const client = await world.connect();
    for (let i = 0; i < 5; i++) client.emit('authenticate', { token: 'nonsense', userId: 7, role: 'cliente' });
    assert.equal(await client.gone, 'io server disconnect');
  });

  test('who does not say who it is is ended', async () => {
    const since = Date.now();
    const client = await world.connect();
    assert.equal(await client.gone, 'io server disconnect');
    assert.deepEqual(await client.next('error'), { message: 'No autenticado' });
    assert.ok(Date.now() - since > 8_000);
  });

  test('another identity on the same socket takes no room along', async () => {
    const client = await world.enter('proveedor', 9);
    client.emit('join_room', { roomName: 'service_3' });
    await client.next('room_joined');
    client.emit('authenticate', { token: 'cliente-7', userId: 7, role: 'cliente' });
    await client.next('auth_success');
    const [row] = (await world.get('/dashboard/clients')).filter(({ socketId }) => socketId === client.id);
    assert.deepEqual([row.userId, row.role, row.rooms], ['7', 'cliente', ['all_clientes', 'cliente_7']]);
  });

  test('a token reaches no log', async () => {
    await world.enter('cliente', 424242);
    await world.connect('/', { query: { token: 'cliente-434343' }, auth: { token: 'cliente-434343' } });
    assert.ok(!world.server.printed.includes('cliente-424242') && !world.server.printed.includes('cliente-434343'));
  });
});

describe('rooms', () => {
  test('either key is good, and comes back', async () => {
    const client = await world.enter('cliente', 7);
    client.emit('join_room', { roomName: 'service_5' });
    assert.deepEqual(await client.next('room_joined'), { roomName: 'service_5' });
    client.emit('join_room', { room: 'location_quito' });
    assert.deepEqual(await client.next('room_joined'), { room: 'location_quito' });
    client.emit('leave_room', { room: 'location_quito' });
    assert.deepEqual(await client.next('room_left'), { room: 'location_quito' });
    const second = await world.enter('cliente', 7, '/ws');
    second.emit('join_room', { room: 'service_5' });
    assert.deepEqual(await second.next('room_joined'), { room: 'service_5' });
    second.emit('leave_room', { room: 'service_5' });
    await second.settle();
    assert.ok(!second.names().includes('room_left'));
  });

  test('others\' rooms stay theirs', async () => {
    const client = await world.enter('cliente', 7);
    for (const roomName of ['admin_dashboard', 'cliente_8', 'proveedor_7', 'all_proveedores', 'user:8', '#second', 'x', '']) {
      client.emit('join_room', { roomName });
      assert.deepEqual(await client.next('error'), { message: 'Sala no permitida' }, roomName);
    }
    client.emit('join_room', {});
    assert.deepEqual(await client.next('error'), { message: 'Sala inválida' });
  });

  test('only what is one\'s own is said', async () => {
    const client = await world.enter('cliente', 7);
    const provider = await world.enter('proveedor', 9);
    for (const [payload, message] of [
      [{ ...RESERVATION, clienteId: 8 }, 'No autorizado'],
      [{ clienteId: 7 }, 'Datos inválidos'],
      ['text', 'Datos inválidos'],
    ]) {
      client.emit('reservation_created', payload);
      assert.deepEqual(await client.next('error'), { message });
    }
    provider.emit('reservation_created', RESERVATION);
    assert.deepEqual(await provider.next('error'), { message: 'No autorizado' });
    const stranger = await world.connect();
    stranger.emit('reservation_created', RESERVATION);
    assert.deepEqual(await stranger.next('error'), { message: 'No autenticado' });
    client.emit('reservation_created', Buffer.from([1, 2]));
    assert.deepEqual(await client.next('error'), { message: 'No se aceptan datos binarios' });
    await provider.settle();
    assert.deepEqual(provider.heard, []);
  });

  test('administrators hear who comes and goes', async () => {
    const admin = await world.enter('admin', 1);
    const client = await world.enter('cliente', 7);
    const { id } = client;
    const notice = (type) => admin.next('event', (event) => event.type === type && event.data.socketId === id);
    await notice('client_connected');
    const { data } = await notice('client_authenticated');
    assert.deepEqual({ ...data, timestamp: 0 }, { userId: '7', role: 'cliente', socketId: id, timestamp: 0 });
    client.kill();
    await notice('client_disconnected');
    const rows = await world.get('/dashboard/clients');
    assert.ok(!rows.some(({ socketId }) => socketId === id), 'no ghost');
  });
});

describe('the second generation', () => {
  test('hears of everything, and administrators of a little more', async () => {
    const [client, admin] = [await world.enter('cliente', 7, '/ws'), await world.enter('admin', 1, '/ws')];
    const stranger = await world.connect('/ws');
    const posted = await world.post('/dashboard/emit-event', { type: 'reserva:creada', data: { cliente_id: 3, proveedor_id: 9 }, timestamp: 'x' });
    assert.equal(posted.status, 200);
    const spelled = { cliente_id: 3, proveedor_id: 9, clienteId: 3, proveedorId: 9 };
    for (const socket of [client, admin]) {
      const { timestamp, ...negocio } = await socket.next('negocio:evento');
      assert.deepEqual(negocio, { type: 'reserva:creada', payload: spelled, source: 'REST_API' });
      assert.deepEqual(await socket.next('reserva:nueva'), spelled);
      assert.deepEqual(await socket.next('reservation_created'), spelled);
    }
    assert.deepEqual(await admin.next('reserva:notificacion'), spelled);
    await client.settle();
    await stranger.settle();
    assert.ok(!client.names().includes('reserva:notificacion'));
    assert.deepEqual(stranger.heard, []);
  });

  test('ping, summary, recent events, metrics', async () => {
    const client = await world.enter('cliente', 7, '/ws');
    assert.equal((await client.next('dashboard:metrics')).activeConnections, 1);
    client.emit('ping', { a: [1] });
    const pong = await client.next('pong');
    assert.deepEqual([pong.data, typeof pong.timestamp], [{ a: [1] }, 'string']);
    client.emit('get_dashboard_summary');
    const summary = await client.next('dashboard_summary');
    assert.deepEqual(Object.keys(summary), ['metrics', 'clients', 'rooms', 'system']);
    assert.deepEqual(Object.keys(summary.rooms), ['total', 'totalClients']);
    assert.deepEqual(Object.keys(summary.system), ['uptime', 'nodeVersion']);
    for (let i = 0; i < 3; i++) await world.post('/api/dashboard/emit-event', { type: 'calificacion:creada', data: { i } });
    client.emit('get_recent_events', { limit: 2 });
    const { events } = await client.next('recent_events');
    assert.deepEqual(events.map(({ type, payload, source }) => [type, payload.i, source]), [['calificacion:creada', 2, 'REST_API'], ['calificacion:creada', 1, 'REST_API']]);
    const answer = await new Promise((done) => client.emit('ping', 'with an acknowledgement', done));
    assert.equal(answer.data, 'with an acknowledgement');
  });

  test('both generations on one connection', async () => {
    const first = await world.connect('/', { forceNew: true });
    const second = first.socket.io.socket('/ws');
    await new Promise((done) => second.once('connect', done));
    second.emit('authenticate', { token: 'cliente-7', userId: 7, role: 'cliente' });
    await new Promise((done) => second.once('auth_success', done));
    first.emit('join_room', { roomName: 'service_1' });
    assert.deepEqual(await first.next('error'), { message: 'No autenticado' }, 'an identity is a namespace\'s');
    second.disconnect();
  });

  test('an unknown namespace is refused', async () => {
    await assert.rejects(world.connect('/nothing'), /Invalid namespace/);
  });
});
