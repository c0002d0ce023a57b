import { LatidoError } from '@latido/angular';
import type { Negocio } from './token';

const TIMEOUT_MS = 8_000;

/** What `latido demo` hands to a page on its own machine. */
export interface DemoSession {
  readonly token: string;
  readonly negocios: readonly Negocio[];
}

/**
 * A session of the demo.
 *
 * @throws LatidoError `unauthorized`: the server there, if any, is no demo, or not for this page
 * @throws Error there is no answer now
 */
export async function demoSession(page: string, signal?: AbortSignal): Promise<DemoSession> {
  const signals = [AbortSignal.timeout(TIMEOUT_MS), ...(signal ? [signal] : [])];
  const answer = await fetch(new URL('demo/session', page), { cache: 'no-store', signal: AbortSignal.any(signals) });
  if (answer.status >= 500 || answer.status === 429) throw new Error(`no session: ${answer.status}`);
  // Whoever serves files alone may answer with a page of his own.
  const isJson = answer.headers.get('content-type')?.includes('json');
  if (!answer.ok || answer.status === 204 || !isJson) throw new LatidoError('unauthorized');
  const session = (await answer.json()) as Partial<DemoSession>;
  if (!session.token || !session.negocios?.length) throw new LatidoError('unauthorized');
  return session as DemoSession;
}
