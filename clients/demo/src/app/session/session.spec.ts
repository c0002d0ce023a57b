import { TestBed } from '@angular/core/testing';
import { LatidoError, type TokenRequest } from '@latido/angular';
import { type Access, Session } from './session';
import { jwt } from './token.fixture';

const json = (value: unknown, status = 200) => new Response(JSON.stringify(value), { status, headers: { 'content-type': 'application/json' } });
const soon = Math.floor(Date.now() / 1000) + 3600;
const ask = (reason: TokenRequest['reason']): TokenRequest => ({ reason, signal: new AbortController().signal });

describe('a session', () => {
  const answers = vi.fn<(url: URL, init?: RequestInit) => Promise<Response>>();
  const access = () => {
    const phase = TestBed.inject(Session).phase();
    if (phase.name !== 'open') throw new Error(phase.name);
    return phase.access;
  };
  const token = ({ token }: Access, reason: TokenRequest['reason']) => (typeof token === 'function' ? token(ask(reason)) : token);

  beforeEach(() => {
    answers.mockReset();
    vi.stubGlobal('fetch', answers);
    history.replaceState(null, '', '/');
  });
  afterEach(() => vi.unstubAllGlobals());

  it('begins by itself beside a demo, with a new token each time it is asked', async () => {
    answers.mockImplementation(async () => json({ token: `t${answers.mock.calls.length}`, negocios: [{ id: '7', nombre: 'Taller' }] }));
    await TestBed.inject(Session).start();
    expect(access()).toMatchObject({ isDemo: true, negocios: [{ id: '7', nombre: 'Taller' }] });
    expect(await token(access(), 'connect')).toBe('t1');
    expect(await token(access(), 'expiring')).toBe('t2');
  });

  it('waits for a server that is not there yet', async () => {
    answers.mockRejectedValueOnce(new TypeError('no network'));
    answers.mockResolvedValueOnce(json({}, 502));
    answers.mockResolvedValue(json({ token: 't', negocios: [{ id: '7', nombre: 'x' }] }));
    const session = TestBed.inject(Session);
    const started = session.start();
    await vi.waitFor(() => expect(session.phase()).toMatchObject({ name: 'looking', failed: true }), { timeout: 120_000 });
    session.hurry();
    await started;
    expect(session.phase().name).toBe('open');
  });

  it.each([json({}, 404), json({}, 403), new Response('<html>', { headers: { 'content-type': 'text/html' } })])('asks for a token elsewhere', async (answer) => {
    answers.mockResolvedValue(answer);
    await TestBed.inject(Session).start();
    expect(TestBed.inject(Session).phase()).toEqual({ name: 'entry' });
  });

  it('takes a token from the address and leaves none there', async () => {
    answers.mockResolvedValue(json({}));
    const text = jwt({ id: 1, exp: soon, negocio_id: 'a' });
    history.replaceState(null, '', `/?vista=todos#token=${text}&server=wss://live.example.com/ws`);
    await TestBed.inject(Session).start();
    expect(location.hash).toBe('');
    expect(location.search).toBe('?vista=todos');
    expect(access()).toMatchObject({ url: 'https://live.example.com/ws', negocios: [{ id: 'a', nombre: 'a' }] });
    const [url, init] = answers.mock.calls[0]!;
    expect(url.href).toBe('https://live.example.com/estadisticas/a');
    expect(init?.headers).toEqual({ Authorization: `Bearer ${text}` });
  });

  it.each([
    ['refused_address', { server: 'http://[' }],
    ['refused_token', { token: 'nonsense' }],
    ['refused_expired', { token: jwt({ exp: 1, negocio_id: 'a' }) }],
    ['refused_ids', { token: jwt({ exp: soon }) }],
  ])('says %s without asking', async (reason, entry) => {
    const typed = { token: jwt({ exp: soon, negocio_id: 'a' }), server: '', ids: '', ...entry };
    expect(await TestBed.inject(Session).enter(typed)).toBe(reason);
    expect(answers).not.toHaveBeenCalled();
  });

  it.each([
    [401, 'refused_token'],
    [403, 'refused_forbidden'],
    [400, 'refused_key'],
    [502, 'refused_server'],
    [503, undefined],
    [200, undefined],
  ])('understands a %i', async (status, reason) => {
    answers.mockResolvedValue(json({}, status));
    expect(await TestBed.inject(Session).enter({ token: jwt({ exp: soon }), server: '', ids: '7 Taller' })).toBe(reason);
  });

  it('gives up a token that the server no longer takes, and only that', async () => {
    answers.mockResolvedValue(json({}));
    const text = jwt({ exp: soon });
    await TestBed.inject(Session).enter({ token: text, server: '', ids: '7' });
    expect(await token(access(), 'connect')).toBe(text);
    answers.mockRejectedValue(new TypeError('no network'));
    expect(await token(access(), 'refused')).toBe(text);
    answers.mockResolvedValue(json({}, 401));
    await expect(token(access(), 'refused')).rejects.toMatchObject({ code: 'unauthorized' } satisfies Partial<LatidoError>);
  });
});
