// @ts-check
/** The server's public state, shown on a page without a demo. */

import { duration, translate } from './i18n.js';

const REFRESH_MS = 10_000, TIMEOUT_MS = 5_000;

/** @type {{health?: any, ready?: any}} */
let status = {};

/** @param {string} path @returns {Promise<any>} */
async function fetchJson(path) {
  try {
    return await (await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) })).json();
  } catch {
    return undefined;
  }
}

/** Fetches the state now, and again while the page is visible. @param {(names: string[]) => void} onStreams called with the names of the streams */
export async function followStatus(onStreams) {
  const refresh = async () => {
    if (document.hidden) return;
    const [health, ready] = await Promise.all([fetchJson('/health'), fetchJson('/ready')]);
    status = { health, ready };
    showStatus();
    if (ready) onStreams(Object.keys(ready.streams ?? {}));
  };
  setInterval(() => void refresh(), REFRESH_MS);
  document.addEventListener('visibilitychange', () => void refresh());
  await refresh();
}

/** Writes the status in the current language. */
export function showStatus() {
  const { health, ready } = status;
  setField('uptime', health ? duration(health.uptime) : '–', '');
  const database = ready?.database?.ok;
  setField('database', ready ? translate(database ? 'state_ok' : 'state_bad') : '–', database ? 'good' : 'bad');
  const listener = ready?.listener === 'connecting' ? 'connecting_listener' : ready?.listener;
  setField('listener', ready ? translate(listener) : '–', listener === 'listening' ? 'good' : listener === 'asleep' ? '' : 'bad');
  const streams = Object.entries(ready?.streams ?? {});
  const missing = streams.some(([, stream]) => !(/** @type {any} */ (stream).ok));
  setField('streams', streams.length ? `${streams.map(([name]) => name).join(', ')}: ${translate(missing ? 'state_waiting' : 'state_ready')}` : '–', missing ? 'bad' : 'good');
}

/** @param {string} name @param {string} value @param {string} tone */
function setField(name, value, tone) {
  const element = /** @type {HTMLElement} */ (document.getElementById(`state-${name}`));
  element.textContent = value;
  if (tone && value !== '–') element.dataset.tone = tone;
  else delete element.dataset.tone;
}
