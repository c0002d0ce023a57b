import { TestBed } from '@angular/core/testing';
import { LatidoTestingController, provideLatidoTesting } from '@latido/angular/testing';
import { ACCESS, type Access } from '../session/session';
import { Session } from '../session/session';
import { Board } from './board';
import { Feeds } from './feeds';
import { DOWN_MS, Link, moodOf } from './link';
import { Place } from './place';
import { LatidoError } from '@latido/angular';

const BOTH = [{ id: '7', nombre: 'Taller Vera' }, { id: '8', nombre: 'Spa Luna' }];
const FIRST = { citas_hoy: 12, total_citas: 1560, citas_completadas: 1400, citas_canceladas: 80 };

function board(access: Partial<Access> = {}) {
  TestBed.configureTestingModule({
    providers: [provideLatidoTesting(), Feeds, Link, { provide: ACCESS, useValue: { url: '', token: '', negocios: BOTH, isDemo: false, ...access } }],
  });
  const fixture = TestBed.createComponent(Board);
  const page = fixture.nativeElement as HTMLElement;
  const text = (selector: string) => page.querySelector(selector)?.textContent?.replace(/\s+/g, ' ').trim();
  const settle = () => fixture.whenStable();
  const server = TestBed.inject(LatidoTestingController);
  const said = (field: string) => text(`[data-field=${field}] dd .said`);
  return { fixture, page, text, settle, server, said };
}

describe('the board', () => {
  beforeEach(() => {
    localStorage.clear();
    sessionStorage.clear();
    localStorage.setItem('latido.language', 'es');
    history.replaceState(null, '', '/');
  });
  afterEach(() => vi.useRealTimers());

  it('is a waiting page, then four numbers that change', async () => {
    const { settle, server, said, text, page } = board();
    await settle();
    expect(said('citas_hoy')).toBe('–');
    expect(text('.link p')).toBe('Conectando…');
    expect(text('.heading .lead')).toContain('Esperando el primer dato');

    server.pushEstadisticas(7, FIRST);
    await settle();
    expect(['citas_hoy', 'total_citas', 'citas_completadas', 'citas_canceladas'].map(said)).toEqual(['12', '1.560', '1.400', '80']);
    expect(text('.link p')).toBe('En vivo');
    expect(page.querySelector('.link')?.getAttribute('data-tone')).toBe('good');
    expect(text('[data-field=total_citas] .hint')).toBe('80 pendientes');
    expect(text('.legend .wait')).toContain('Pendientes80');
    expect(document.title).toBe('Citas hoy: 12 · Taller Vera');

    server.pushEstadisticas(7, { ...FIRST, citas_hoy: 13 });
    await settle();
    expect(said('citas_hoy')).toBe('13');
    expect(text('[data-field=citas_hoy] .delta')).toBe('+1');
    expect(page.querySelector('.trend')?.getAttribute('aria-label')).toContain('de 12 a 13');
  });

  it('says when the numbers may be old, and keeps them', async () => {
    const { settle, server, said, text, page } = board();
    await settle();
    server.pushEstadisticas(7, FIRST);
    server.stale(new Date(2026, 10, 22, 10, 41).getTime() / 1000);
    await settle();
    expect(text('.link p')).toBe('Sin actualizar desde las 10:41');
    expect(text('.notice')).toContain('no puede leer la base de datos');
    expect(page.querySelector('.numbers')?.classList).toContain('old');
    expect(said('citas_hoy')).toBe('12');

    server.disconnect();
    await settle();
    expect(text('.link p')).toBe('Reconectando…');
    expect(page.querySelector('.notice')).toBeNull();
    page.querySelector<HTMLButtonElement>('.link button')?.click();
    expect(server.reconnects).toBe(1);

    server.connect();
    await settle();
    expect(page.querySelector('.old')).toBeNull();
  });

  it('asks for another token where nothing else will help', async () => {
    const { settle, server, text, page } = board();
    const leave = vi.spyOn(TestBed.inject(Session), 'leave');
    await settle();
    server.pushEstadisticas(7, FIRST);
    server.end('unauthorized');
    await settle();
    expect(page.querySelector('.link')?.getAttribute('data-tone')).toBe('bad');
    expect(text('.notice')).toContain('La sesión venció');
    page.querySelector<HTMLButtonElement>('.notice button')?.click();
    expect(leave).toHaveBeenCalledOnce();
  });

  it('shows a refused business as such, and the others', async () => {
    const { settle, server, text } = board();
    await settle();
    server.pushEstadisticas(8, FIRST);
    server.refuse('estadisticas:7');
    await settle();
    expect(text('.refused')).toBe('Este token no puede ver este negocio.');
    TestBed.inject(Place).show('8');
    await settle();
    expect(text('[data-field=citas_hoy] dd .said')).toBe('12');
  });

  it('switches between businesses and all of them, and the address remembers', async () => {
    const { settle, server, page, text } = board();
    await settle();
    for (const { id } of BOTH) server.pushEstadisticas(id, { ...FIRST, citas_hoy: Number(id) });
    const picker = page.querySelector('select')!;
    picker.value = '8';
    picker.dispatchEvent(new Event('change'));
    await settle();
    expect(text('h1')).toBe('Spa Luna');
    expect(location.search).toBe('?negocio=8');

    page.querySelector<HTMLButtonElement>('.heading .secondary')?.click();
    await settle();
    expect(page.querySelectorAll('.tile').length).toBe(2);
    expect(text('.heading .lead')).toContain('Citas hoy en 2 negocios: 15');
    expect(location.search).toBe('?vista=todos');

    page.querySelector<HTMLButtonElement>('[data-negocio="7"] button')?.click();
    await settle();
    expect(text('h1')).toBe('Taller Vera');
    expect(picker.isConnected && page.querySelector('select')!.value).toBe('7');
  });

  it('speaks English when told to, numbers and document included', async () => {
    const { settle, server, page, text, said } = board({ negocios: [BOTH[0]!] });
    await settle();
    server.pushEstadisticas(7, FIRST);
    await settle();
    expect(page.querySelector('select')).toBeNull();
    const button = [...page.querySelectorAll<HTMLButtonElement>('button')].find((one) => one.textContent === 'English')!;
    button.click();
    await settle();
    expect(document.documentElement.lang).toBe('en');
    expect(said('total_citas')).toBe('1,560');
    expect(text('.link p')).toBe('Live');
  });

  it('keeps the day over a reload, with a gap', async () => {
    const { settle, server, fixture } = board();
    await settle();
    server.pushEstadisticas(7, FIRST);
    await settle();
    window.dispatchEvent(new Event('pagehide'));
    fixture.destroy();
    TestBed.resetTestingModule();

    const again = board();
    await again.settle();
    const [feed] = TestBed.inject(Feeds).all;
    expect(feed!.history().map(({ value }) => value)).toEqual([12, null]);
  });

  it('takes its turn at being read aloud', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { server, text, fixture } = board();
    const now = () => TestBed.tick();
    now();
    for (const citas_hoy of [1, 2, 3]) {
      server.pushEstadisticas(7, { citas_hoy });
      now();
    }
    expect(text('latido-announcer')).toBe('');
    vi.advanceTimersByTime(30_000);
    now();
    expect(text('latido-announcer')).toBe('Citas hoy: 3');
    fixture.destroy();
  });
});

describe('the mood of a connection', () => {
  const error = (code: LatidoError['code']) => ({ state: 'connecting', error: new LatidoError(code) }) as const;

  it('turns from amber to red when it lasts', () => {
    expect(moodOf({ state: 'connecting' }, false, 0, 100)).toMatchObject({ tone: 'warn', word: 'connecting' });
    expect(moodOf(error('lost'), true, 0, DOWN_MS - 1)).toMatchObject({ tone: 'warn', word: 'reconnecting' });
    expect(moodOf(error('lost'), true, 5, DOWN_MS + 5)).toMatchObject({ tone: 'bad', word: 'down', at: 5 });
  });

  it('knows what a person can do about it', () => {
    expect(moodOf(error('offline'), true, 0, 1)).toMatchObject({ tone: 'bad', word: 'offline' });
    const closed = (code: LatidoError['code']) => moodOf({ state: 'closed', error: new LatidoError(code) }, true, 0, 1);
    expect(closed('unauthorized')).toMatchObject({ why: 'why_unauthorized', isOver: true });
    expect(closed('forbidden')).toMatchObject({ why: 'why_forbidden', isOver: true });
    expect(closed('too_big')).toMatchObject({ why: 'why_closed', isOver: false });
  });
});
