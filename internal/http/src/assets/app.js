// @ts-check
/** The page. In a demo it fetches a session, elsewhere it asks for a token; then it renders the connection's data. */

import { ChannelCard } from './channel-card.js';
import { Connection } from './connection.js';
import { EntryForm } from './entry-form.js';
import { RowCard } from './row-card.js';
import { ServicesPanel } from './services-panel.js';
import { showState } from './state.js';
import { followStatus, showStatus } from './status.js';
import { language, number, otherLanguage, switchLanguage, timeOfDay, translate, translatePage } from './i18n.js';

/** @typedef {import('./connection.js').Session} Session */
/** @typedef {import('./connection.js').State} State */

const TICK_MS = 1_000;
/** With reduced motion the chart moves only this often, and at every change. */
const REDUCED_MOTION_TICKS = 15;
const SESSION_TIMEOUT_MS = 8_000;

const reducedMotion = matchMedia('(prefers-reduced-motion: reduce)');

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

/** @type {Map<string, ChannelCard | RowCard>} */
const cards = new Map();
/** The services, if the demo serves them. @type {ServicesPanel | undefined} */
let panel;
/** @type {Connection | undefined} */
let connection;
/** The parts of the state's text, so that it can be written again in another language. */
let state = { name: 'connecting', values: /** @type {Record<string, string>} */ ({}), notice: '' };
let changes = 0;
const form = new EntryForm(({ token, ids, channels }) => {
  changes = 0;
  showEntry(false);
  const negocios = ids.map((id) => ({ id, nombre: id }));
  connect(async () => ({ token, negocios, channels }), false);
});

class NotADemoError extends Error {}

/** @returns {Promise<Session>} */
async function demoSession() {
  const response = await fetch('/demo/session', { cache: 'no-store', signal: AbortSignal.timeout(SESSION_TIMEOUT_MS) });
  if ([204, 403, 404].includes(response.status)) throw new NotADemoError();
  if (!response.ok) throw new Error(`session: ${response.status}`);
  return response.json();
}

/** Returns the channels of the cards. @param {Session} session @param {boolean} canBook @returns {string[]} */
function renderCards({ negocios, channels = [] }, canBook) {
  /** @type {Map<string, () => ChannelCard | RowCard>} */
  const wanted = new Map(channels.map((channel) => [channel, () => new RowCard(channel)]));
  for (const negocio of negocios) wanted.set(`estadisticas:${negocio.id}`, () => new ChannelCard(negocio, canBook));
  for (const [channel, card] of cards) {
    if (wanted.has(channel)) continue;
    card.element.remove();
    cards.delete(channel);
  }
  for (const [channel, create] of wanted) {
    if (cards.has(channel)) continue;
    const card = create();
    cards.set(channel, card);
    byId('cards').append(card.element);
  }
  byId('summary').hidden = false;
  byId('of-today').hidden = !negocios.length;
  return [...wanted.keys()];
}

/** Shows the services of the demo, and returns the channel of the panel. @param {Session} session @returns {string[]} */
function renderServices(session) {
  const { servicios } = session;
  if (!servicios) return [];
  panel ??= new ServicesPanel(
    { ...session, servicios },
    (before, after) => connection?.replaceChannel(before, after),
    (channel) => connection?.requestHistory(channel),
  );
  panel.setToday(servicios.hoy);
  return [panel.channel];
}

/** @param {() => Promise<Session>} session @param {boolean} demo */
function connect(session, demo) {
  connection?.stop();
  connection = new Connection({
    session: async () => {
      const current = await session();
      const channels = renderCards(current, demo);
      return { ...current, channels: [...channels, ...renderServices(current)] };
    },
    renewable: demo,
    onState: (name, { since, reason }) => {
      const at = since ? timeOfDay(since * 1000) : '';
      setState(name, { at }, reason ? `reason_${reason}` : '');
      if (name === 'refused' && !demo) showEntry(true);
    },
    wantsHistory: (channel) => channel === panel?.channel,
    onHistory: (channel, rows) => { if (channel === panel?.channel) panel.showHistory(rows); },
    onStats: (channel, stats) => {
      if (channel === panel?.channel) panel.show(stats);
      const card = cards.get(channel);
      if (!card) return;
      if (card.stats) changes++;
      card.show(stats);
      renderSummary();
      animatePulse();
    },
    onError: (channel, code, message) => {
      if (channel && channel === panel?.channel) panel.showError(code);
      else cards.get(channel ?? '')?.showError(code, message);
    },
  });
  connection.start();
}

/** @param {State | 'setup'} name @param {Record<string, string>} values @param {string} notice the key of a text, or empty */
function setState(name, values = {}, notice = '') {
  state = { name, values, notice };
  showState(state);
}

function renderSummary() {
  let sum = 0, hasStats = false;
  for (const card of cards.values()) {
    if (!(card instanceof ChannelCard)) continue;
    sum += card.stats?.citas_hoy ?? 0;
    hasStats ||= !!card.stats;
  }
  byId('all-today').textContent = hasStats ? number(sum) : '–';
  byId('changes').textContent = number(changes);
}

/** Animates the mark once for new data. */
function animatePulse() {
  const pulse = byId('pulse');
  if (reducedMotion.matches || pulse.getAnimations().length) return;
  pulse.animate([{ transform: 'none' }, { transform: 'scale(1.13)', offset: 0.25 }, { transform: 'none' }], { duration: 420, easing: 'ease-out' });
}

/** @param {boolean} show */
function showEntry(show) {
  byId('entry').hidden = !show;
  byId('cards').hidden = show;
  byId('summary').hidden = show;
  byId('again').hidden = show;
}

/** Shows the form again, as it was filled in. */
function chooseAgain() {
  connection?.stop();
  setState('setup');
  showEntry(true);
  byId('ids').focus();
}

function showTitle() {
  document.title = `${translate(form.title)} · Latido`;
}

function applyLanguage() {
  document.documentElement.lang = language();
  translatePage(document);
  form.translate();
  showTitle();
  const button = byId('language');
  button.textContent = translate('other_language');
  button.lang = otherLanguage();
  setState(/** @type {State} */ (state.name), state.values, state.notice);
  for (const card of cards.values()) card.translate();
  panel?.translate();
  renderSummary();
  showStatus();
}

let ticks = 0;
function tick() {
  if (document.hidden) return;
  ticks++;
  const moveChart = !reducedMotion.matches || ticks % REDUCED_MOTION_TICKS === 0;
  for (const card of cards.values()) card.tick(moveChart);
}

async function main() {
  byId('language').addEventListener('click', () => {
    switchLanguage();
    applyLanguage();
  });
  byId('again').addEventListener('click', chooseAgain);
  applyLanguage();
  setInterval(tick, TICK_MS);
  /** @type {Session | undefined} */
  let prefetched;
  try {
    prefetched = await demoSession();
  } catch (error) {
    // The connection handles a server that does not answer yet.
    if (error instanceof NotADemoError) {
      setState('setup');
      showEntry(true);
      void followStatus((names) => {
        form.setStreams(names);
        showTitle();
      });
      byId('token').focus();
      return;
    }
  }
  connect(async () => {
    const session = prefetched ?? (await demoSession());
    prefetched = undefined;
    return session;
  }, true);
}

void main();
