import type { Word } from '../words/dictionary';

const TIMEOUT_MS = 8_000;
/** What a proxy says for a server that is not there. */
const NO_SERVER = [502, 504];

/** Whether the server would take this token for this business: the name of the complaint, or nothing. */
export async function complaint(server: URL, token: string, id: string): Promise<Word | undefined> {
  let status: number;
  try {
    const address = new URL(`estadisticas/${encodeURIComponent(id)}`, server);
    const headers = { Authorization: `Bearer ${token}` };
    ({ status } = await fetch(address, { headers, cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) }));
  } catch {
    return 'refused_server';
  }
  if (status === 401) return 'refused_token';
  if (status === 403) return 'refused_forbidden';
  if (NO_SERVER.includes(status)) return 'refused_server';
  // A server that can't read its database now is one that the dashboard waits for.
  return status >= 400 && status < 500 && status !== 429 ? 'refused_key' : undefined;
}
