import { jwt } from './token.fixture';
import { claimsOf, negociosIn, serverAddress, shortName } from './token';

describe('what a token says', () => {
  it('names businesses in any of three claims', () => {
    const token = jwt({ exp: 9, negocio_id: 'a', negocios: ['b', 7, 'a', ''], channels: ['estadisticas:c', 'ventas:1'] });
    expect(claimsOf(token)).toEqual({ exp: 9, ids: ['a', 'b', '7', 'c'] });
    expect(claimsOf(jwt({ id: 1, negocios: null }))).toEqual({ ids: [] });
  });

  it('is nothing where it is no token', () => {
    for (const text of ['', 'a', 'a.b.c', 'a.!.c', 'e30.bnVsbA.x']) expect(claimsOf(text), text).toBeUndefined();
  });
});

describe('what is typed', () => {
  it('is businesses with names', () => {
    expect(negociosIn(' 7 Taller Vera\n\nnegocio_8; 7 otra vez')).toEqual([
      { id: '7', nombre: 'Taller Vera' },
      { id: 'negocio_8', nombre: 'negocio_8' },
    ]);
    expect(shortName('a4b1c7d2-53e8-4f0a-9c16-2e7d8b90f3a1')).toBe('a4b1c7d2');
  });

  it('is a server, however it is written', () => {
    const at = (text: string) => serverAddress(text, 'http://localhost:4200/?vista=todos#x')?.href;
    expect(at('')).toBe('http://localhost:4200/');
    expect(at('live.example.com')).toBe('https://live.example.com/');
    expect(at('wss://live.example.com/ws')).toBe('https://live.example.com/');
    expect(at('ws://10.0.0.7:8080/base/ws?token=x')).toBe('http://10.0.0.7:8080/base/');
    expect(at('http://[')).toBeUndefined();
    expect(at('javascript://x')).toBeUndefined();
  });
});
