// @ts-check
/** The operators' page. It asks for a token (a demo issues one), then renders the server's own channels once a second. */

import './dashboard-words.js';
import { Board } from './board.js';
import { ClientsTable } from './sessions.js';
import { Link, Refused } from './link.js';
import { showState } from './state.js';
import { clockTime, language, otherLanguage, say, switchLanguage, timeOfDay, translate } from './words.js';

const STATE = 'latido:servidor', CLIENTS = 'latido:clientes';
const TIMEOUT_MS = 8_000;
/** The pause in typing after which the filter is sent, in ms. */
const TYPING_MS = 250;

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

/** The token is stored only in this variable. */
let token = '';
/** @type {Link | undefined} */ let link;
let clientsChannel = CLIENTS;
/** The latest data of each channel while the page is paused. @type {Map<string, any> | undefined} */ let held;
let pausedAt = 0;
let state = { name: 'connecting', values: /** @type {Record<string, string>} */ ({}), notice: '' };

const board = new Board();
const clients = new ClientsTable({ close: closeClient });

/** @param {string} path @param {string} [method] @returns {Promise<any>} */
async function ask(path, method = 'GET') {
  const answer = await fetch(path, {
    method, cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS), headers: { Authorization: `Bearer ${token}`, Accept: 'application/json' },
  });
  if (answer.status === 401) throw new Refused('token');
  if (answer.status === 403) throw new Refused('role');
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

/** Runs before every attempt: checks the token and loads the history. @param {() => Promise<string>} renew */
async function session(renew) {
  token = await renew();
  const stats = await ask('/dashboard/stats');
  byId('board').hidden = false;
  byId('pause').hidden = false;
  board.remember(stats.history);
  show(STATE, stats);
  return { token, negocios: [], channels: [STATE, clientsChannel] };
}

/** @param {() => Promise<string>} renew @param {boolean} renewable */
function connect(renew, renewable) {
  link?.stop();
  byId('entry').hidden = true;
  link = new Link({
    session: () => session(renew),
    renewable,
    proves: true,
    onState: (name, { since, why }) => {
      setState(name, { at: since ? timeOfDay(since * 1000) : '' }, why ? `why_${why}` : '');
      if (name === 'refused') enter();
    },
    onStats: receive,
    onError: (channel, code) => { if (channel === STATE) setState('refused', {}, code); },
  });
  link.start();
}

/** @param {string} channel @param {any} data */
function receive(channel, data) {
  if (channel === STATE) board.add(data.now);
  if (held) held.set(channel, data);
  else show(channel, data);
}

/** @param {string} channel @param {any} data */
function show(channel, data) {
  if (channel === STATE) {
    board.show(data);
    byId('lead').textContent = board.lead();
  } else if (channel === clientsChannel) clients.show(data);
}

function pause() {
  if (held) {
    const missed = held;
    held = undefined;
    for (const [channel, data] of missed) show(channel, data);
  } else {
    held = new Map();
    pausedAt = Date.now();
  }
  speakPause();
}

function speakPause() {
  const button = byId('pause');
  button.textContent = say(held ? 'resume' : 'pause');
  button.setAttribute('aria-pressed', String(!!held));
  byId('paused').hidden = !held;
  byId('paused').textContent = held ? say('paused', { at: clockTime(pausedAt) }) : '';
}

let typing = 0;
function filter() {
  clearTimeout(typing);
  typing = setTimeout(() => {
    const text = /** @type {HTMLInputElement} */ (byId('filter')).value.trim();
    const next = text ? `${CLIENTS}/${text}` : CLIENTS;
    link?.exchange(clientsChannel, next);
    clientsChannel = next;
  }, TYPING_MS);
}

/** @param {{id: string, user: string}} client @param {boolean} mayReturn */
async function closeClient({ id, user }, mayReturn) {
  try {
    await ask(`/dashboard/clients/${encodeURIComponent(id)}/close?come_back=${mayReturn}`, 'POST');
    said('ended', { user });
    clients.forget(id);
  } catch {
    said('end_failed', {}, 'bad');
  }
}

async function cleanup() {
  try {
    const { lookedAt, closed } = await ask('/dashboard/cleanup', 'POST');
    said('cleaned', { looked: String(lookedAt), closed: String(closed) });
  } catch {
    said('clean_failed', {}, 'bad');
  }
}

/** @param {string} words @param {Record<string, string>} values @param {string} [tone] */
function said(words, values, tone = 'good') {
  byId('said').dataset.tone = tone;
  byId('said').textContent = say(words, values);
}

/** @param {string} name @param {Record<string, string>} values @param {string} notice words, or empty */
function setState(name, values = {}, notice = '') {
  state = { name, values, notice };
  showState(state);
}

function enter() {
  token = '';
  byId('entry').hidden = false;
  byId('board').hidden = true;
  byId('pause').hidden = true;
  byId('lead').textContent = '';
  byId('token').focus();
}

function speak() {
  document.documentElement.lang = language();
  document.title = `${say('dash_title')} · Latido`;
  translate(document);
  byId('language').textContent = say('other_language');
  byId('language').lang = otherLanguage();
  setState(state.name, state.values, state.notice);
  speakPause();
  board.translate();
  clients.translate();
  byId('lead').textContent = board.lead();
}

/** A token in the URL's fragment never reaches a server. It is removed from the address, and so from the history, at once. */
function fromFragment() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
  if (location.hash) history.replaceState(null, '', location.pathname + location.search);
  return given;
}

/** @returns {Promise<string>} empty if there is no demo */
async function demoToken() {
  const answer = await fetch('/demo/operator', { cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (answer.status !== 200) return '';
  return (await answer.json()).token;
}

async function main() {
  byId('language').addEventListener('click', () => { switchLanguage(); speak(); });
  byId('pause').addEventListener('click', pause);
  byId('cleanup').addEventListener('click', () => void cleanup());
  byId('filter').addEventListener('input', filter);
  byId('form').addEventListener('submit', (event) => {
    event.preventDefault();
    const field = /** @type {HTMLTextAreaElement} */ (byId('token'));
    const given = field.value.trim();
    field.value = '';
    if (given) connect(async () => given, false);
  });
  const given = fromFragment();
  addEventListener('hashchange', () => { const next = fromFragment(); if (next) connect(async () => next, false); });
  speak();
  if (given) return connect(async () => given, false);
  const first = await demoToken().catch(() => undefined);
  if (first === '') {
    setState('setup');
    return enter();
  }
  let fresh = first;
  connect(async () => {
    const next = fresh ?? (await demoToken());
    fresh = undefined;
    if (!next) throw new Refused('token');
    return next;
  }, true);
}

void main();
