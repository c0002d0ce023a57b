/**
 * A client and a provider of the rooms gateway, with the official Socket.IO client.
 *
 *   node examples/gateway.mjs
 *       starts the server of target/ with a stand-in for the Django API, and shows a reservation in both vocabularies
 *   node examples/gateway.mjs http://localhost:4000 TOKEN USER_ID ROLE
 *       connects to a server that runs, and shows what this user hears until Ctrl-C
 */

import { createServer } from 'node:http';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { io } from 'socket.io-client';

import { Program } from '../tests/apps/harness/program.mjs';

/** Connects, says who it is, and shows everything that it hears. */
function enter(url, name, claim) {
  const socket = io(url, { transports: ['websocket'] });
  socket.onAny((event, payload) => console.log(`${name} <- ${event} ${JSON.stringify(payload)}`));
  socket.on('connect', () => socket.emit('authenticate', claim));
  socket.on('connect_error', (error) => console.log(`${name}: ${error.message}`));
  socket.on('disconnect', (reason) => console.log(`${name}: disconnected (${reason})`));
  return new Promise((done, fail) => {
    socket.once('auth_success', () => done(socket));
    socket.once('auth_error', ({ message }) => fail(new Error(message)));
  });
}

/** Tokens here are `ROLE-ID`. A real API looks them up. */
async function api() {
  const server = createServer((request, response) => {
    const [rol, id] = (request.headers.authorization ?? '').replace('Token ', '').split('-');
    response.writeHead(id ? 200 : 401, { 'content-type': 'application/json' });
    response.end(JSON.stringify(id ? { user: {}, id: Number(id), rol } : { detail: 'Invalid token.' }));
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return server;
}

async function show() {
  const [django, home] = [await api(), mkdtempSync(join(tmpdir(), 'latido-example-'))];
  const server = new Program('latido', ['serve'], {
    HOST: '127.0.0.1', PORT: '0', DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/nothing', JWT_SECRET: 'only for this example, and long enough',
    LATIDO_APPS: 'gateway', GATEWAY_PORT: '0', GATEWAY_API_KEY: 'only for this example', GATEWAY_API_URL: `http://127.0.0.1:${django.address().port}`,
  }, home);
  const url = `http://127.0.0.1:${await server.says(/"listener":"127\.0\.0\.1:(\d+)"/)}`;
  console.log(`the gateway listens on ${url}; its dashboard is ${url}/dashboard.html`);
  const provider = await enter(url, 'proveedor 9    ', { token: 'proveedor-9', userId: 9, role: 'proveedor' });
  const panel = await enter(`${url}/ws`, 'panel, on /ws  ', { token: 'cliente-3', userId: 3, role: 'cliente' });
  const client = await enter(url, 'cliente 7      ', { token: 'cliente-7', userId: 7, role: 'cliente' });
  client.emit('reservation_created', { clienteId: 7, proveedorId: 9, servicioId: 3, fecha: new Date().toISOString(), estado: 'pendiente' });
  await new Promise((done) => provider.once('reservation_created', done));
  const accepted = new Promise((done) => client.once('reservation_accepted', done));
  provider.emit('reservation_accepted', { clienteId: 7, proveedorId: 9, servicioId: 3, estado: 'aceptada' });
  await accepted;
  for (const socket of [provider, panel, client]) socket.disconnect();
  await server.end();
  django.close();
  rmSync(home, { recursive: true, force: true });
}

const [url, token, userId, role] = process.argv.slice(2);
await (url ? enter(url, 'me', { token, userId, role }) : show());
