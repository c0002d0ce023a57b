import { Component, inject, input, Injector, PLATFORM_ID, provideZonelessChangeDetection, signal } from '@angular/core';
import { toObservable } from '@angular/core/rxjs-interop';
import { TestBed } from '@angular/core/testing';
import { channel, type Estadisticas, injectEstadisticas, injectLatido, injectLatidoConnection, LATIDO, type Maybe, provideLatido } from '@latido/angular';
import { LatidoTestingController, provideLatidoTesting } from '@latido/angular/testing';
import { EventStream } from 'latido/sse';

@Component({
  selector: 'negocio-card',
  template: `
    @if (stats.hasValue()) {
      <b [class.old]="stats.isStale()">{{ stats.value().citas_hoy }}</b>
    } @else if (stats.error(); as error) {
      <em>{{ error.code }}</em>
    } @else {
      <i>{{ stats.status() }}</i>
    }
  `,
})
class Card {
  readonly negocio = input.required<Maybe<string>>();
  readonly stats = injectEstadisticas(this.negocio);
}

function setup() {
  TestBed.configureTestingModule({ providers: [provideZonelessChangeDetection(), provideLatidoTesting()] });
  return TestBed.inject(LatidoTestingController);
}

async function card(negocio: Maybe<string>) {
  const server = setup();
  const fixture = TestBed.createComponent(Card);
  fixture.componentRef.setInput('negocio', negocio);
  await fixture.whenStable();
  const shows = async () => {
    await fixture.whenStable();
    return (fixture.nativeElement as HTMLElement).textContent.trim();
  };
  return { server, fixture, shows, stats: fixture.componentInstance.stats };
}

/** Outside of any component. */
function ref<T>(channel: Maybe<string> | (() => Maybe<string>)) {
  const result = injectLatido<T>(channel, { injector: TestBed.inject(Injector) });
  TestBed.tick();
  return result;
}

describe('a history', () => {
  it('is a signal, where it is asked for, and belongs to its channel', () => {
    const server = setup();
    const name = signal('ventas:7');
    const options = { injector: TestBed.inject(Injector), history: true };
    const ventas = injectLatido<{ total: number }, { dia: string }>(name, options);
    const plain = ref('ventas:7');
    TestBed.tick();
    expect(ventas.history()).toBeUndefined();
    server.pushHistory('ventas:7', [{ dia: '2026-11-30' }]);
    expect([ventas.history(), plain.history()]).toEqual([[{ dia: '2026-11-30' }], undefined]);
    server.push('ventas:7', { total: 1 });
    server.disconnect();
    expect(ventas.history()).toEqual([{ dia: '2026-11-30' }]);
    server.pushHistory('ventas:7', null);
    expect(ventas.history()).toBeNull();
    name.set('ventas:8');
    TestBed.tick();
    expect(ventas.history()).toBeUndefined();
    expect(() => server.pushHistory('ventas:7', [])).toThrow(/nobody asks/);
  });
});

describe('injectEstadisticas', () => {
  it('shows what comes, without zones', async () => {
    const { server, shows, stats } = await card('1');
    expect(server.watched).toEqual(['estadisticas:1']);
    expect(await shows()).toBe('loading');
    expect(stats.isLoading()).toBe(true);
    server.pushEstadisticas('1', { citas_hoy: 7, timestamp: 60 });
    expect(await shows()).toBe('7');
    expect(stats.status()).toBe('resolved');
    expect(stats.updatedAt()).toEqual(new Date(60_000));
    server.pushEstadisticas('1', { citas_hoy: 8 });
    expect(await shows()).toBe('8');
  });

  it('follows its id, and never shows one business under the name of another', async () => {
    const { server, fixture, shows, stats } = await card('1');
    server.pushEstadisticas('1', { citas_hoy: 7 });
    fixture.componentRef.setInput('negocio', '2');
    expect(stats.value()).toBeUndefined();
    expect(await shows()).toBe('loading');
    expect(server.watched).toEqual(['estadisticas:2']);
    server.pushEstadisticas('2', { citas_hoy: 9 });
    expect(await shows()).toBe('9');
    fixture.componentRef.setInput('negocio', null);
    expect(await shows()).toBe('idle');
    expect(server.watched).toEqual([]);
  });

  it('keeps the number and says that it may be old', async () => {
    const { server, shows, stats } = await card('1');
    server.pushEstadisticas('1', { citas_hoy: 7 });
    expect(stats.isStale()).toBe(false);
    server.disconnect();
    expect([await shows(), stats.isStale(), stats.connection(), stats.status()]).toEqual(['7', true, 'connecting', 'resolved']);
    server.connect();
    expect(stats.isStale()).toBe(false);
    server.stale(7);
    expect([stats.isStale(), stats.connection()]).toEqual([true, 'stale']);
  });

  it('shows a refusal and takes the number away; and recovers', async () => {
    const { server, shows, stats } = await card('1');
    server.pushEstadisticas('1');
    server.refuse('estadisticas:1');
    expect([await shows(), stats.status(), stats.connection()]).toEqual(['forbidden', 'error', 'closed']);
    server.pushEstadisticas('1', { citas_hoy: 3 });
    expect([await shows(), stats.error()]).toEqual(['3', undefined]);
    server.end('too_big');
    expect([await shows(), stats.error()?.code, stats.isStale()]).toEqual(['3', 'too_big', true]);
  });

  it('ends with the component', async () => {
    const { server, fixture } = await card('1');
    fixture.destroy();
    expect(server.watched).toEqual([]);
  });

  it('takes numbers for ids, and zero is one', () => {
    const server = setup();
    injectEstadisticas(0, { injector: TestBed.inject(Injector) });
    TestBed.tick();
    expect(server.watched).toEqual(['estadisticas:0']);
  });

  it('wants an injection context', () => {
    setup();
    expect(() => injectEstadisticas('1')).toThrow(/injection context/);
    expect(() => injectLatido('a:1')).toThrow(/injection context/);
    expect(() => injectLatidoConnection()).toThrow(/injection context/);
  });
});

describe('injectLatido', () => {
  it('watches any channel, once for as many as ask', () => {
    const server = setup();
    const [first, second] = [ref<{ total: number }>('ventas:7'), ref<{ total: number }>(() => 'ventas:7')];
    server.push('ventas:7', { total: 1 });
    expect([first.value(), second.value()]).toEqual([{ total: 1 }, { total: 1 }]);
    expect(first.updatedAt()).toBeUndefined();
    const late = ref<{ total: number }>('ventas:7');
    expect(late.value()).toEqual({ total: 1 });
  });

  it('is an observable for those who want one', () => {
    const server = setup();
    const name = signal('a:1');
    const live = ref<number>(name);
    const seen: unknown[] = [];
    toObservable(live.value, { injector: TestBed.inject(Injector) }).subscribe((value) => seen.push(value));
    TestBed.tick();
    server.push('a:1', 1);
    TestBed.tick();
    name.set('b:2');
    TestBed.tick();
    server.push('b:2', 2);
    TestBed.tick();
    expect(seen).toEqual([undefined, 1, undefined, 2]);
  });

  it('has a state of its own for each channel: old, since when, and why', () => {
    const server = setup();
    const [one, other] = [ref<{ n: number }>('ventas:7/3'), ref<{ n: number }>('totales')];
    server.push('ventas:7/3', { n: 1 });
    server.push('totales', { n: 2 });
    server.unavailable('ventas:7/3');
    expect([one.isStale(), one.error()?.code, one.status(), one.connection()]).toEqual([true, 'unavailable', 'resolved', 'stale']);
    expect([one.value(), one.staleSince()]).toEqual([{ n: 1 }, undefined]);
    server.stale(9, 'ventas:7/3');
    expect([one.staleSince(), one.error()?.code]).toEqual([new Date(9000), 'unavailable']);
    expect([other.isStale(), other.error(), other.staleSince(), other.connection()]).toEqual([false, undefined, undefined, 'open']);
    server.push('ventas:7/3', { n: 1 });
    expect([one.isStale(), one.error(), one.staleSince(), one.connection()]).toEqual([false, undefined, undefined, 'open']);
    server.stale(60);
    for (const live of [one, other]) expect([live.isStale(), live.staleSince(), live.error()]).toEqual([true, new Date(60_000), undefined]);
    server.unavailable('totales');
    server.disconnect();
    expect([other.connection(), other.error()]).toEqual(['connecting', undefined]);
    server.connect();
    expect([other.connection(), other.isStale()]).toEqual(['open', false]);
  });

  it('says why nothing comes before the first value', () => {
    const server = setup();
    const live = ref('totales');
    server.unavailable('totales');
    expect([live.status(), live.isLoading(), live.isStale(), live.error()?.code]).toEqual(['loading', true, false, 'unavailable']);
  });

  it('refuses the channel of a bad key alone', () => {
    const server = setup();
    const [bad, good] = [ref('ventas:7'), ref<number>('ventas:7?desde=2026-11-01')];
    server.push('ventas:7?desde=2026-11-01', 1);
    server.refuse('ventas:7', 'invalid_key');
    expect([bad.status(), bad.error()?.code, good.status(), good.error()]).toEqual(['error', 'invalid_key', 'resolved', undefined]);
  });

  it('follows a name that is made of signals', () => {
    const server = setup();
    const [caja, desde] = [signal(3), signal<string | undefined>(undefined)];
    const live = ref<number>(() => channel('ventas', [7, caja()], { desde: desde() }));
    expect(server.watched).toEqual(['ventas:7/3']);
    desde.set('2026-11-01');
    TestBed.tick();
    expect(server.watched).toEqual(['ventas:7/3?desde=2026-11-01']);
    server.push('ventas:7/3?desde=2026-11-01', 5);
    expect(live.value()).toBe(5);
    caja.set(4);
    expect(live.value()).toBeUndefined();
  });

  it('says whom nobody watches', () => {
    const server = setup();
    ref('a:1');
    expect(() => server.push('b:2', 1)).toThrow(/nobody watches b:2; watched: a:1/);
  });
});

describe('injectLatidoConnection', () => {
  it('shows the connection, and makes another', () => {
    const server = setup();
    const connection = TestBed.runInInjectionContext(() => injectLatidoConnection());
    expect(connection.state()).toBe('closed');
    ref('a:1');
    expect(connection.state()).toBe('connecting');
    server.connect();
    expect(connection.state()).toBe('open');
    server.disconnect('restarting');
    expect(connection.status().error?.code).toBe('restarting');
    connection.reconnect();
    expect(server.reconnects).toBe(1);
  });
});

describe('provideLatido', () => {
  /** A socket that the test holds. */
  class FakeSocket {
    static made: FakeSocket[] = [];
    onopen: ((event: unknown) => void) | null = null;
    onmessage: ((event: unknown) => void) | null = null;
    onclose: ((event: unknown) => void) | null = null;
    onerror: ((event: unknown) => void) | null = null;
    readonly sent: { type: string }[] = [];
    isClosed = false;
    constructor(
      readonly url: string,
      readonly protocols: string[],
    ) {
      FakeSocket.made.push(this);
    }
    send(text: string) {
      this.sent.push(JSON.parse(text));
    }
    close() {
      this.isClosed = true;
    }
    says(frame: object) {
      this.onmessage?.({ data: JSON.stringify(frame) });
    }
  }
  class Auth {
    readonly token = async () => 'a.b.c';
  }
  const settled = () => new Promise((resolve) => setTimeout(resolve));
  beforeEach(() => (FakeSocket.made = []));

  function real(platform: 'browser' | 'server') {
    TestBed.configureTestingModule({
      providers: [
        provideZonelessChangeDetection(),
        Auth,
        { provide: PLATFORM_ID, useValue: platform },
        { provide: 'URL', useValue: 'ws://live.example.com/ws' },
        provideLatido(() => ({ url: inject<string>('URL' as never), WebSocket: FakeSocket, token: () => inject(Auth).token() })),
      ],
    });
    return ref<Estadisticas>('estadisticas:1');
  }

  it('connects a real client, whose token callback may inject', async () => {
    const live = real('browser');
    await settled();
    const [socket] = FakeSocket.made as [FakeSocket];
    expect([socket.url, socket.protocols]).toEqual(['ws://live.example.com/ws', ['bearer', 'a.b.c']]);
    socket.onopen?.({});
    expect(socket.sent).toEqual([{ type: 'subscribe', data: { channel: 'estadisticas:1' } }]);
    socket.says({ type: 'subscribed', data: { channel: 'estadisticas:1' } });
    socket.says({ type: 'stats', channel: 'estadisticas:1', v: 1, data: { citas_hoy: 5 } });
    expect([live.value()?.citas_hoy, live.connection()]).toEqual([5, 'open']);
    TestBed.resetTestingModule();
    expect(socket.isClosed).toBe(true);
  });

  it('reads event streams where it is told to', async () => {
    const requests: { url: string; headers: Headers; signal: AbortSignal; says: (frame: object) => void }[] = [];
    const fetched = async (url: URL, { headers, signal }: { headers: Headers; signal: AbortSignal }) => {
      let says = (_: object) => {};
      const body = new ReadableStream<Uint8Array>({
        start: (stream) => void (says = (frame) => stream.enqueue(new TextEncoder().encode(`data:${JSON.stringify(frame)}\n\n`))),
      });
      requests.push({ url: `${url}`, headers, signal, says });
      return new Response(body);
    };
    vi.stubGlobal('fetch', fetched);
    TestBed.configureTestingModule({
      providers: [
        provideZonelessChangeDetection(),
        provideLatido({ url: 'wss://live.example.com/ws', token: 'a.b.c', WebSocket: EventStream }),
      ],
    });
    const live = [ref<{ n: number }>('ventas:7/3'), ref<{ n: number }>('totales')] as const;
    await vi.waitUntil(() => requests.length);
    const [{ url, headers, signal, says }] = requests as [(typeof requests)[0]];
    expect([url, headers.get('authorization')]).toEqual([
      'https://live.example.com/events?channel=ventas%3A7%2F3&channel=totales',
      'Bearer a.b.c',
    ]);
    says({ type: 'ventas', channel: 'totales', v: 1, data: { n: 5 } });
    await vi.waitUntil(() => live[1].hasValue());
    expect([live[1].value(), live[1].connection(), live[0].isLoading()]).toEqual([{ n: 5 }, 'open', true]);
    TestBed.resetTestingModule();
    expect(signal.aborted).toBe(true);
    vi.unstubAllGlobals();
  });

  it('does not flap when somebody leaves and comes back', async () => {
    real('browser');
    await settled();
    const [socket] = FakeSocket.made as [FakeSocket];
    socket.onopen?.({});
    const visit = () => {
      const injector = Injector.create({ providers: [], parent: TestBed.inject(Injector) });
      const live = injectLatido<{ n: number }>('a:1', { injector });
      TestBed.tick();
      return { live, leave: () => injector.destroy() };
    };
    const first = visit();
    socket.says({ type: 'subscribed', data: { channel: 'a:1' } });
    socket.says({ type: 'stats', channel: 'a:1', v: 1, data: { n: 5 } });
    first.leave();
    const second = visit();
    expect([second.live.value(), second.live.isLoading()]).toEqual([{ n: 5 }, false]);
    await settled();
    expect(second.live.connection()).toBe('open');
    expect(socket.sent.map(({ type }) => type)).toEqual(['subscribe', 'subscribe']);
  });

  it('opens nothing on a server', async () => {
    const live = real('server');
    await settled();
    expect(FakeSocket.made).toEqual([]);
    expect(TestBed.inject(LATIDO)).toBeNull();
    expect([live.status(), live.connection()]).toEqual(['loading', 'connecting']);
    const connection = TestBed.runInInjectionContext(() => injectLatidoConnection());
    connection.reconnect();
    expect(connection.state()).toBe('closed');
  });
});
