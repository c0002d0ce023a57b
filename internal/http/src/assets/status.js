// @ts-check
/** The server's public state, shown on a page without a demo. */

import { duration, say } from './words.js';

const EVERY_MS = 10_000, TIMEOUT_MS = 5_000;

/** @type {{health?: any, ready?: any}} */
let known = {};

/** @param {string} path @returns {Promise<any>} */
async function ask(path) {
  try {
    return await (await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) })).json();
  } catch {
    return undefined;
  }
}

/** Fetches the state now, and again while the page is visible. */
export async function followStatus() {
  const look = async () => {
    if (document.hidden) return;
    const [health, ready] = await Promise.all([ask('/health'), ask('/ready')]);
    known = { health, ready };
    showStatus();
  };
  setInterval(() => void look(), EVERY_MS);
  document.addEventListener('visibilitychange', () => void look());
  await look();
}

/** Writes the known state in the current language. */
export function showStatus() {
  const { health, ready } = known;
  put('uptime', health ? duration(health.uptime) : '–', '');
  const database = ready?.database?.ok;
  put('database', ready ? say(database ? 'state_ok' : 'state_bad') : '–', database ? 'good' : 'bad');
  const listener = ready?.listener === 'connecting' ? 'connecting_listener' : ready?.listener;
  put('listener', ready ? say(listener) : '–', listener === 'listening' ? 'good' : 'bad');
  const streams = Object.entries(ready?.streams ?? {});
  const missing = streams.some(([, stream]) => !(/** @type {any} */ (stream).ok));
  put('streams', streams.length ? `${streams.map(([name]) => name).join(', ')}: ${say(missing ? 'state_waiting' : 'state_ready')}` : '–', missing ? 'bad' : 'good');
}

/** @param {string} name @param {string} words @param {string} tone */
function put(name, words, tone) {
  const element = /** @type {HTMLElement} */ (document.getElementById(`state-${name}`));
  element.textContent = words;
  if (tone && words !== '–') element.dataset.tone = tone;
  else delete element.dataset.tone;
}
