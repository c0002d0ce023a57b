/** A client of a fake server, in a time that stands still. */

import { Latido, type LatidoOptions } from 'latido';

import { FakeClock, fakes, settled } from './fake.js';
import { Seen } from './watching.js';

export const URL = 'wss://live.example.com/ws';

export function fake(options: Partial<LatidoOptions> = {}) {
  const { sockets, WebSocket } = fakes();
  const clock = new FakeClock();
  const latido = new Latido(URL, { token: () => 'a.b.c', WebSocket, clock, random: () => 0.5, ...options });
  return { latido, sockets, clock, seen: new Seen<{ v: number }>() };
}

/** The same, with `a:1` watched on an open socket. */
export async function connected(options: Partial<LatidoOptions> = {}) {
  const all = fake(options);
  const stop = all.latido.watch('a:1', all.seen);
  await settled();
  const socket = all.sockets[0]!.open();
  return { ...all, socket, stop };
}
