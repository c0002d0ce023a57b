#!/usr/bin/env node
/**
 * Display Sim's two sides against a Latido that serves the app `workspace`: dashboards that look on, and the REST API that publishes.
 *
 *   LATIDO_APPS=workspace WORKSPACE_API_KEY=… JWT_SECRET=… latido demo      # in another terminal; or your own server
 *   WORKSPACE_API_KEY=… JWT_SECRET=… node examples/workspace.mjs [http://localhost:8080]
 *
 * Both variables are the server's own; ELIXIR_SERVER_URL and ELIXIR_API_KEY, as the old publisher calls them, will do too.
 */

import { createHmac } from 'node:crypto';

import WebSocket from 'ws';

const url = (process.argv[2] ?? process.env.ELIXIR_SERVER_URL ?? 'http://localhost:8080').replace(/\/$/, '');
const key = process.env.WORKSPACE_API_KEY?.split(',')[0].trim() ?? process.env.ELIXIR_API_KEY;
const secret = process.env.JWT_SECRET;
if (!key || !secret) {
  console.error('expected WORKSPACE_API_KEY and JWT_SECRET, those of the server');
  process.exit(2);
}

/** A token as the REST API signs it: the user, and the workspaces with a role in each. */
function token(userId, workspaceIds) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const workspaces = workspaceIds.map((workspaceId) => ({ workspaceId, role: 'admin' }));
  const exp = Math.floor(Date.now() / 1000) + 3600;
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ userId, workspaces, exp })}`;
  return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`;
}

/** A dashboard: connects, says who it is, and tells what it hears. */
function dashboard(name, workspaceId, userId) {
  const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/ws`);
  const heard = [];
  let wake = () => {};
  socket.on('open', () => {
    socket.send(JSON.stringify({ type: 'auth', workspace_id: workspaceId, user_id: userId, token: token(userId, [workspaceId]) }));
  });
  socket.on('message', (data) => {
    const frame = JSON.parse(data);
    console.log(`${name} ←`, JSON.stringify(frame));
    heard.push(frame);
    wake();
  });
  socket.on('close', (code, reason) => console.log(`${name} closed: ${code} ${reason}`));
  socket.on('error', (error) => {
    console.error(`${name}: ${error.message}. Is the server there, with LATIDO_APPS=workspace?`);
    process.exit(1);
  });
  return {
    socket,
    async hears(type) {
      while (!heard.some((frame) => frame.type === type)) {
        if (socket.readyState > WebSocket.OPEN) throw new Error(`${name} was closed before it heard ${type}`);
        await new Promise((done) => (wake = done));
      }
    },
  };
}

/** The publisher's calls. */
async function call(method, path, body) {
  const headers = { 'X-API-Key': key, 'Content-Type': 'application/json' };
  const answer = await fetch(url + path, { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(5000) });
  const said = await answer.json();
  console.log(`publisher → ${method} ${path}: ${answer.status}`, JSON.stringify(said));
  if (!answer.ok) process.exit(1);
}

const workspace = '507f1f77bcf86cd799439011';
const owner = dashboard('owner ', workspace, '507f191e810c19729de860ea');
const staff = dashboard('staff ', workspace, 456);
await Promise.all([owner.hears('auth_success'), staff.hears('auth_success')]);

await call('GET', `/api/workspaces/${workspace}/users`);
await call('POST', `/api/workspaces/${workspace}/notify`, {
  type: 'create',
  entity: 'Appointment',
  data: { _id: '65a000000000000000000001', date: '2026-03-01', startMinutes: 540, duration: 30, status: 'nouă' },
});
await call('POST', `/api/workspaces/${workspace}/broadcast`, { message: 'Închidem la 18:00' });
await call('POST', '/api/users/456/message', { message: { type: 'appointment_confirmed', appointment: { _id: '65a000000000000000000001' } } });
await Promise.all([owner.hears('data_change'), owner.hears('broadcast'), staff.hears('data_change'), staff.hears('direct_message')]);

for (const { socket } of [owner, staff]) socket.close(1000);
