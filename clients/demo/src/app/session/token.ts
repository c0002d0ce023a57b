/** What a token says about itself. Nothing here is verified: that is the server's business. Pure. */

/** A business to watch. */
export interface Negocio {
  readonly id: string;
  readonly nombre: string;
}

/** What is of use to a page. */
export interface Claims {
  /** Unix seconds. */
  readonly exp?: number;
  /** Businesses that the token names. */
  readonly ids: readonly string[];
}

const PREFIX = 'estadisticas:';

/** Nothing, if it is no JWT. */
export function claimsOf(token: string): Claims | undefined {
  try {
    const payload = token.split('.')[1]!.replace(/-/g, '+').replace(/_/g, '/');
    const bytes = Uint8Array.from(atob(payload), (char) => char.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    const channels = list(claims['channels']).flatMap((name) => (name.startsWith(PREFIX) ? [name.slice(PREFIX.length)] : []));
    const ids = new Set([...list(claims['negocio_id']), ...list(claims['negocios']), ...channels]);
    return { ...(typeof claims['exp'] === 'number' && { exp: claims['exp'] }), ids: [...ids] };
  } catch {
    return undefined;
  }
}

function list(claim: unknown): string[] {
  const items = Array.isArray(claim) ? claim : [claim];
  return items.filter((item) => (typeof item === 'string' && item !== '') || Number.isSafeInteger(item)).map(String);
}

/** A line each: an id, and perhaps a name after it. A comma or a semicolon ends a line too. */
export function negociosIn(text: string): Negocio[] {
  const found = new Map<string, string>();
  for (const line of text.split(/[\n,;]/)) {
    const [id, ...name] = line.trim().split(/\s+/);
    if (id && !found.has(id)) found.set(id, name.join(' ') || shortName(id));
  }
  return [...found].map(([id, nombre]) => ({ id, nombre }));
}

/** A UUID is not for reading: its first eight digits tell a handful of businesses apart. */
export function shortName(id: string): string {
  return /^[\da-f]{8}-(?:[\da-f]{4}-){3}[\da-f]{12}$/i.test(id) ? id.slice(0, 8) : id;
}

/** The server that an address means, for `fetch`; nothing if it is none. An empty one is the page's own. */
export function serverAddress(text: string, page: string): URL | undefined {
  const typed = text.trim();
  const named = typed && !/^[a-z][a-z\d+.-]*:\/\//i.test(typed) ? `https://${typed}` : typed;
  try {
    const url = new URL(named, page);
    url.protocol = url.protocol.replace('ws', 'http');
    url.hash = url.search = '';
    // People paste the socket's address.
    url.pathname = url.pathname.replace(/\/?(ws)?$/, '/');
    return url.protocol === 'http:' || url.protocol === 'https:' ? (typed ? url : new URL('/', page)) : undefined;
  } catch {
    return undefined;
  }
}
