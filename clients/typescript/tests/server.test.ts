/** Against the real server: what a dashboard lives through. */

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { Latido, LatidoError, type Estadisticas, type LatidoOptions, type TokenRequest } from 'latido';

import { Proxy } from './harness/proxy.js';
import { token, World, type Business, type Server } from './harness/server.js';
import { until } from './harness/until.js';
import { client, fast, Seen } from './harness/watching.js';

/** The lifetime of a token that expires in a test, in seconds: long enough to connect on a busy machine. */
const EXPIRING_S = 8;

const world = new World();
const open: Latido[] = [];
let shared: Server;
let quiet: Business;
let loud: Business;

/** A client of everything, closed at the end. */
function dashboard(url: string, options: Partial<LatidoOptions> = {}) {
  const made = client(url, { token: token({ rol: 'admin_sistema' }), ...options });
  open.push(made.latido);
  return made;
}

const channel = (business: Business) => `estadisticas:${business.id}`;

function watched(latido: Latido, business: Business): Seen<Estadisticas> & { stop: () => void } {
  const seen = new Seen<Estadisticas>();
  return Object.assign(seen, { stop: latido.watch<Estadisticas>(channel(business), seen) });
}

before(async () => {
  await world.start();
  shared = await world.serve();
  [quiet, loud] = world.businesses as [Business, Business];
});

after(async () => {
  for (const latido of open) latido.close();
  await world.end();
});

describe('watching', () => {
  it('gives the value at once, and again when it changes', async () => {
    const seen = watched(dashboard(shared.url).latido, quiet);
    const { total_citas, negocio_id } = await seen.first();
    assert.equal(negocio_id, quiet.id);
    await world.book(quiet);
    await until('the cita is counted', () => seen.newest.total_citas > total_citas);
    assert.deepEqual(seen.states, ['connecting', 'open']);
  });

  it('uses one socket for all channels, and one subscription for all watchers of one', async () => {
    const { latido, wire } = dashboard(shared.url);
    const all = [quiet, loud, quiet, quiet].map((business) => watched(latido, business));
    await Promise.all(all.map((seen) => seen.first()));
    assert.equal(wire.sockets, 1);
    assert.equal(wire.count('subscribe'), 2);
    assert.deepEqual(all[0]!.values[0], all[2]!.values[0]);
  });

  it('gives a late watcher the last value without asking', async () => {
    const { latido, wire } = dashboard(shared.url);
    const first = watched(latido, quiet);
    await first.first();
    const late = watched(latido, quiet);
    assert.deepEqual(late.values, [], 'nothing before watch has returned');
    await Promise.resolve();
    assert.deepEqual(late.values, [first.newest]);
    assert.deepEqual(late.states, ['open']);
    assert.deepEqual(latido.last(channel(quiet)), first.newest);
    assert.equal(wire.count('subscribe'), 1);
  });

  it('keeps a channel for a moment: who leaves and comes back is not noticed', async () => {
    const { latido, wire } = dashboard(shared.url);
    const first = watched(latido, quiet);
    await first.first();
    first.stop();
    const again = watched(latido, quiet);
    await Promise.resolve();
    assert.deepEqual(again.values, [first.newest]);
    again.stop();
    again.stop();
    await until('the channel is left', () => wire.count('unsubscribe') === 1);
    await until('so is the socket, with the last channel', () => wire.open === 0);
    assert.deepEqual(latido.status, { state: 'closed' });
    await watched(latido, quiet).first();
    assert.equal(wire.sockets, 2);
  });

  it('is an iterator too, which leaving the loop ends', async () => {
    const { latido, wire } = dashboard(shared.url, { clock: fast(20) });
    const seen: number[] = [];
    for await (const { total_citas } of latido.watch<Estadisticas>(channel(quiet))) {
      if (seen.push(total_citas) === 2) break;
      await world.book(quiet);
    }
    assert.ok(seen[1]! > seen[0]!);
    await until('it is left', () => wire.count('unsubscribe') === 1 && wire.open === 0);
  });

  it('refuses one channel and keeps the others', async () => {
    const { latido } = dashboard(shared.url, { token: token({ negocios: [quiet.id] }) });
    const mine = watched(latido, quiet);
    const others = watched(latido, loud);
    const { error } = await others.is('closed', 'forbidden');
    assert.ok(error instanceof LatidoError);
    assert.deepEqual(others.errors, [error]);
    await mine.is('open');
    for (const [name, code] of [
      ['nothing:1', 'unknown_channel'],
      ['estadisticas:no-uuid', 'invalid_key'],
    ] as const) {
      await assert.rejects(latido.watch(name).next(), { name: 'LatidoError', code });
    }
    await mine.another();
  });

  it('closes cleanly', async () => {
    const { latido, wire } = dashboard(shared.url);
    const seen = watched(latido, quiet);
    const loop = latido.watch<Estadisticas>(channel(loud));
    await Promise.all([seen.first(), loop.next()]);
    const waiting = (async () => {
      for await (const _ of loop);
    })();
    latido.close();
    await waiting;
    assert.equal(seen.states.at(-1), 'closed');
    assert.deepEqual(seen.errors, []);
    await until('the socket is closed', () => wire.open === 0);
    const late = watched(latido, quiet);
    latido.reconnect();
    await late.is('closed');
    assert.equal(wire.sockets, 1);
  });
});

describe('when the server goes', () => {
  it('comes back after it was killed, and after it was restarted', async () => {
    const server = await world.serve();
    const { latido, wire } = dashboard(server.url);
    const seen = [watched(latido, quiet), watched(latido, loud)];
    for (const [signal, code] of [
      ['SIGKILL', 'lost'],
      ['SIGTERM', 'restarting'],
    ] as const) {
      await Promise.all(seen.map((one) => one.is('open')));
      const had = seen.map((one) => one.values.length);
      await server.end(signal);
      await Promise.all(seen.map((one) => one.was('connecting', code)));
      await server.start();
      await world.book(quiet);
      await until('numbers move again', () => seen.every((one, index) => one.values.length > had[index]!));
    }
    assert.equal(wire.count('subscribe'), 6);
    assert.deepEqual(seen.flatMap((one) => one.errors), []);
  });

  it('reconnects at once when it is told to', async () => {
    const reasons: string[] = [];
    const { latido, wire } = dashboard(shared.url, {
      token: ({ reason }) => {
        reasons.push(reason);
        return token({ rol: 'admin_sistema' });
      },
    });
    const seen = watched(latido, quiet);
    await seen.first();
    latido.reconnect();
    await until('there is another socket', () => wire.sockets === 2);
    await seen.is('open');
    assert.equal(reasons.length, 2);
    assert.ok(!seen.states.includes('closed'));
  });

  it('waits for a place where there is none', async () => {
    const server = await world.serve({ MAX_CONNECTIONS: '1' });
    const inside = dashboard(server.url);
    await watched(inside.latido, quiet).first();
    const outside = watched(dashboard(server.url).latido, quiet);
    await outside.was('connecting', 'lost');
    inside.latido.close();
    await outside.first();
  });

  it('says that numbers are old while the database is away', async () => {
    const network = await Proxy.to({ path: world.socket });
    const server = await world.serve({ SWEEP_SECONDS: '1' }, network.port);
    const { latido } = dashboard(server.url);
    const seen = watched(latido, quiet);
    await seen.is('open');
    network.mode = 'refuse';
    network.cut();
    const { since } = await seen.is('stale');
    assert.ok(since! > 1_700_000_000);
    const late = watched(latido, quiet);
    await late.is('stale');
    network.mode = 'pass';
    await seen.is('open');
    assert.deepEqual(seen.errors, []);
    latido.close();
    await server.end('SIGKILL');
    network.end();
  });

  it('stops where coming back would not help', async () => {
    const { latido, wire } = dashboard(shared.url);
    const seen = watched(latido, quiet);
    await seen.first();
    const name = `estadisticas:${'x'.repeat(20_000)}`;
    await assert.rejects(latido.watch(name).next(), { code: 'too_big' });
    assert.equal(seen.errors[0]?.code, 'too_big');
    const late = watched(latido, quiet);
    await late.is('closed', 'too_big');
    assert.equal(wire.sockets, 1);
  });

  it('comes back later to a server that was asked too much', async () => {
    const server = await world.serve({ MAX_MESSAGES_PER_SECOND: '1', MESSAGE_BURST: '2' });
    const { latido } = dashboard(server.url);
    const seen = Array.from({ length: 9 }, (_, index) => {
      const one = new Seen();
      latido.watch(`estadisticas:00000000-0000-0000-0000-00000000000${index}`, one);
      return one;
    });
    await seen[0]!.was('connecting', 'too_many_messages');
    latido.close();
  });
});

describe('tokens', { concurrency: true }, () => {
  it('are renewed on the living connection', async () => {
    const reasons: string[] = [];
    const { latido, wire } = dashboard(shared.url, {
      token: async ({ reason, signal }: TokenRequest) => {
        assert.equal(signal.aborted, false);
        reasons.push(reason);
        return token({ rol: 'admin_sistema' }, reason === 'connect' ? 20 : 3600);
      },
    });
    const seen = watched(latido, quiet);
    await seen.first();
    await until('the new one is accepted', () => wire.heard.some(({ type }) => type === 'authenticated'));
    assert.deepEqual(reasons, ['connect', 'expiring']);
    await seen.another();
    assert.equal(wire.sockets, 1);
    assert.deepEqual(seen.states, ['connecting', 'open']);
  });

  it('are asked for again once they have expired', async () => {
    const reasons: string[] = [];
    const { latido, wire } = dashboard(shared.url, {
      token: async ({ reason }: TokenRequest) => {
        reasons.push(reason);
        if (reason === 'expiring') throw new Error('the API is away');
        return token({ rol: 'admin_sistema' }, reason === 'connect' ? EXPIRING_S : 3600);
      },
    });
    const seen = watched(latido, quiet);
    await seen.first();
    await seen.was('connecting', 'unauthorized');
    await seen.is('open');
    assert.deepEqual(new Set(reasons), new Set(['connect', 'expiring', 'refused']));
    assert.equal(wire.sockets, 2);
    assert.deepEqual(seen.errors, []);
  });

  it('that can not be renewed end it', async () => {
    const seen = watched(dashboard(shared.url, { token: token({ rol: 'admin_sistema' }, EXPIRING_S) }).latido, quiet);
    await seen.first();
    await seen.is('closed', 'unauthorized');
    assert.equal(seen.errors.length, 1);
  });

  it('of another user make another connection', async () => {
    let user = 'ana';
    const { latido, wire } = dashboard(shared.url, {
      token: () => token({ id: user, rol: 'admin_sistema' }, user === 'ana' ? 20 : 3600),
    });
    const seen = watched(latido, quiet);
    await seen.first();
    user = 'eva';
    await until('there is another', () => wire.sockets === 2);
    await seen.is('open');
    await seen.another();
  });

  it('that are refused are asked for again, and the callback may give up', async () => {
    let asked = 0;
    const { latido } = dashboard(shared.url, {
      clock: fast(20),
      token: () => {
        if (++asked === 1) return 'not.a.token';
        if (asked === 2) throw new Error('no network');
        throw new LatidoError('unauthorized');
      },
    });
    const seen = watched(latido, quiet);
    await seen.was('connecting', 'lost');
    await seen.was('connecting', 'token');
    await seen.is('closed', 'unauthorized');
    assert.equal(seen.errors.length, 1);
  });
});

describe('a bad network', () => {
  it('is noticed when it swallows everything, and left', async () => {
    const network = await Proxy.to({ port: shared.port, host: '127.0.0.1' });
    const seen = watched(dashboard(network.url, { clock: fast(20) }).latido, quiet);
    await seen.is('open');
    network.mode = 'hole';
    await seen.was('connecting', 'silent');
    await seen.was('connecting', 'timeout');
    network.mode = 'pass';
    await seen.is('open');
    await seen.another();
    assert.deepEqual(seen.errors, []);
    network.end();
  });

  it('that cuts comes back', async () => {
    const network = await Proxy.to({ port: shared.port, host: '127.0.0.1' });
    const { latido, wire } = dashboard(network.url);
    const seen = watched(latido, quiet);
    await seen.is('open');
    network.cut();
    await until('there is another socket', () => wire.sockets === 2);
    await seen.is('open');
    network.end();
  });

  it('has its end when a token is awaited: the callback is told', async () => {
    const signals: AbortSignal[] = [];
    const { latido, wire } = dashboard(shared.url, {
      clock: fast(50),
      token: ({ signal }) => (signals.push(signal), new Promise(() => {})),
    });
    const seen = watched(latido, quiet);
    await seen.was('connecting', 'timeout');
    await until('it is asked again', () => signals.length > 1);
    latido.close();
    assert.ok(signals.every((signal) => signal.aborted));
    assert.equal(wire.sockets, 0);
  });
});

describe("the runtime's own WebSocket", { skip: !globalThis.WebSocket && 'this node has none' }, () => {
  it('serves', async () => {
    const latido = new Latido(shared.url.replace('ws:', 'http:'), { token: token({ negocios: [quiet.id] }) });
    const seen = watched(latido, quiet);
    await seen.first();
    latido.close();
    await seen.is('closed');
  });
});
