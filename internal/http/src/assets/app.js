// @ts-check
/** The page. In a demo it fetches a session, elsewhere it asks for a token; then it renders the connection's data. */

import { Card } from './card.js';
import { Link } from './link.js';
import { showState } from './state.js';
import { followStatus, showStatus } from './status.js';
import { language, number, otherLanguage, say, switchLanguage, timeOfDay, translate } from './words.js';

/** @typedef {import('./link.js').Session} Session */
/** @typedef {import('./link.js').State} State */

const TICK_MS = 1_000;
/** With reduced motion the chart moves only this often, and at every change. */
const CALM_TICKS = 15;
const SESSION_TIMEOUT_MS = 8_000;

const reducedMotion = matchMedia('(prefers-reduced-motion: reduce)');

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

/** @type {Map<string, Card>} */
const cards = new Map();
/** @type {Link | undefined} */
let link;
/** The parts of the state's text, so that it can be written again in another language. */
let state = { name: 'connecting', values: /** @type {Record<string, string>} */ ({}), notice: '' };
let changes = 0;

class NotADemo extends Error {}

/** @returns {Promise<Session>} */
async function demoSession() {
  const answer = await fetch('/demo/session', { cache: 'no-store', signal: AbortSignal.timeout(SESSION_TIMEOUT_MS) });
  if ([204, 403, 404].includes(answer.status)) throw new NotADemo();
  if (!answer.ok) throw new Error(`session: ${answer.status}`);
  return answer.json();
}

/** @param {Session['negocios']} negocios @param {boolean} canBook */
function lay(negocios, canBook) {
  const wanted = new Set(negocios.map(({ id }) => `estadisticas:${id}`));
  for (const [channel, card] of cards) {
    if (wanted.has(channel)) continue;
    card.element.remove();
    cards.delete(channel);
  }
  for (const negocio of negocios) {
    const channel = `estadisticas:${negocio.id}`;
    if (cards.has(channel)) continue;
    const card = new Card(negocio, canBook);
    cards.set(channel, card);
    byId('cards').append(card.element);
  }
  byId('summary').hidden = false;
}

/** @param {() => Promise<Session>} session @param {boolean} demo */
function connect(session, demo) {
  link?.stop();
  link = new Link({
    session: async () => {
      const current = await session();
      lay(current.negocios, demo);
      return current;
    },
    renewable: demo,
    onState: (name, { since, why }) => {
      const at = since ? timeOfDay(since * 1000) : '';
      setState(name, { at }, why ? `why_${why}` : '');
      if (name === 'refused' && !demo) showEntry(true);
    },
    onStats: (channel, stats) => {
      const card = cards.get(channel);
      if (!card) return;
      if (card.stats) changes++;
      card.show(stats);
      summarise();
      beat();
    },
    onError: (channel, code) => cards.get(channel ?? '')?.fail(code),
  });
  link.start();
}

/** @param {State | 'setup'} name @param {Record<string, string>} values @param {string} notice words, or empty */
function setState(name, values = {}, notice = '') {
  state = { name, values, notice };
  showState(state);
}

function summarise() {
  let sum = 0, known = false;
  for (const { stats } of cards.values()) {
    sum += stats?.citas_hoy ?? 0;
    known ||= !!stats;
  }
  byId('all-today').textContent = known ? number(sum) : '–';
  byId('changes').textContent = number(changes);
}

/** Animates the mark once for new data. */
function beat() {
  const pulse = byId('pulse');
  if (reducedMotion.matches || pulse.getAnimations().length) return;
  pulse.animate([{ transform: 'none' }, { transform: 'scale(1.13)', offset: 0.25 }, { transform: 'none' }], { duration: 420, easing: 'ease-out' });
}

/** @param {boolean} show */
function showEntry(show) {
  byId('entry').hidden = !show;
  byId('cards').hidden = show;
  byId('summary').hidden = show;
}

function submitEntry() {
  const token = /** @type {HTMLTextAreaElement} */ (byId('token')).value.trim();
  const ids = /** @type {HTMLInputElement} */ (byId('ids')).value.split(/[\s,]+/).filter(Boolean);
  if (!token || !ids.length) return;
  const negocios = [...new Set(ids)].map((id) => ({ id, nombre: id }));
  changes = 0;
  showEntry(false);
  connect(async () => ({ token, negocios }), false);
}

function speak() {
  document.documentElement.lang = language();
  document.title = `${say('title')} · Latido`;
  translate(document);
  const button = byId('language');
  button.textContent = say('other_language');
  button.lang = otherLanguage();
  setState(/** @type {State} */ (state.name), state.values, state.notice);
  for (const card of cards.values()) card.translate();
  summarise();
  showStatus();
}

let ticks = 0;
function tick() {
  if (document.hidden) return;
  ticks++;
  const moveChart = !reducedMotion.matches || ticks % CALM_TICKS === 0;
  for (const card of cards.values()) card.tick(moveChart);
}

async function main() {
  byId('language').addEventListener('click', () => {
    switchLanguage();
    speak();
  });
  byId('form').addEventListener('submit', (event) => {
    event.preventDefault();
    submitEntry();
  });
  speak();
  setInterval(tick, TICK_MS);
  /** @type {Session | undefined} */
  let first;
  try {
    first = await demoSession();
  } catch (error) {
    // The connection handles a server that does not answer yet.
    if (error instanceof NotADemo) {
      setState('setup');
      showEntry(true);
      void followStatus();
      byId('token').focus();
      return;
    }
  }
  connect(async () => {
    const session = first ?? (await demoSession());
    first = undefined;
    return session;
  }, true);
}

void main();
