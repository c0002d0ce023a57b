// @ts-check
/** The operators' page. It asks for a token (a demo issues one), then renders the server's own channels once a second. */

import './dashboard-i18n.js';
import { Overview } from './overview.js';
import { ClientsTable } from './sessions.js';
import { Connection, RefusedError } from './connection.js';
import { showState } from './state.js';
import { clockTime, language, otherLanguage, switchLanguage, timeOfDay, translate, translatePage } from './i18n.js';

const STATE = 'latido:servidor', CLIENTS = 'latido:clientes';
const TIMEOUT_MS = 8_000;
/** The pause in typing after which the filter is sent, in ms. */
const FILTER_DELAY_MS = 250;

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

/** The token is stored only in this variable. */
let token = '';
/** @type {Connection | undefined} */ let connection;
let clientsChannel = CLIENTS;
/** The latest data of each channel while the page is paused. @type {Map<string, any> | undefined} */ let pausedData;
let pausedAt = 0;
let state = { name: 'connecting', values: /** @type {Record<string, string>} */ ({}), notice: '' };

const overview = new Overview();
const clients = new ClientsTable({ close: closeClient });

/** @param {string} path @param {string} [method] @returns {Promise<any>} */
async function fetchJson(path, method = 'GET') {
  const response = await fetch(path, {
    method, cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS), headers: { Authorization: `Bearer ${token}`, Accept: 'application/json' },
  });
  if (response.status === 401) throw new RefusedError('token');
  if (response.status === 403) throw new RefusedError('role');
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

/** Runs before every attempt: checks the token and loads the history. @param {() => Promise<string>} renew */
async function session(renew) {
  token = await renew();
  const stats = await fetchJson('/dashboard/stats');
  byId('overview').hidden = false;
  byId('pause').hidden = false;
  overview.loadHistory(stats.history);
  show(STATE, stats);
  return { token, negocios: [], channels: [STATE, clientsChannel] };
}

/** @param {() => Promise<string>} renew @param {boolean} renewable */
function connect(renew, renewable) {
  connection?.stop();
  byId('entry').hidden = true;
  connection = new Connection({
    session: () => session(renew),
    renewable,
    verifiesToken: true,
    onState: (name, { since, reason }) => {
      setState(name, { at: since ? timeOfDay(since * 1000) : '' }, reason ? `reason_${reason}` : '');
      if (name === 'refused') showTokenForm();
    },
    onStats: receive,
    onError: (channel, code) => { if (channel === STATE) setState('refused', {}, code); },
  });
  connection.start();
}

/** @param {string} channel @param {any} data */
function receive(channel, data) {
  if (channel === STATE) overview.add(data.now);
  if (pausedData) pausedData.set(channel, data);
  else show(channel, data);
}

/** @param {string} channel @param {any} data */
function show(channel, data) {
  if (channel === STATE) {
    overview.show(data);
    byId('lead').textContent = overview.headline();
  } else if (channel === clientsChannel) clients.show(data);
}

function togglePause() {
  if (pausedData) {
    const latest = pausedData;
    pausedData = undefined;
    for (const [channel, data] of latest) show(channel, data);
  } else {
    pausedData = new Map();
    pausedAt = Date.now();
  }
  updatePauseButton();
}

function updatePauseButton() {
  const button = byId('pause');
  button.textContent = translate(pausedData ? 'resume' : 'pause');
  button.setAttribute('aria-pressed', String(!!pausedData));
  byId('paused').hidden = !pausedData;
  byId('paused').textContent = pausedData ? translate('paused', { at: clockTime(pausedAt) }) : '';
}

let filterTimer = 0;
function applyFilter() {
  clearTimeout(filterTimer);
  filterTimer = setTimeout(() => {
    const text = /** @type {HTMLInputElement} */ (byId('filter')).value.trim();
    const next = text ? `${CLIENTS}/${text}` : CLIENTS;
    connection?.replaceChannel(clientsChannel, next);
    clientsChannel = next;
  }, FILTER_DELAY_MS);
}

/** @param {{id: string, user: string}} client @param {boolean} mayReconnect */
async function closeClient({ id, user }, mayReconnect) {
  try {
    await fetchJson(`/dashboard/clients/${encodeURIComponent(id)}/close?come_back=${mayReconnect}`, 'POST');
    showResult('ended', { user });
    clients.remove(id);
  } catch {
    showResult('end_failed', {}, 'bad');
  }
}

async function cleanup() {
  try {
    const { lookedAt, closed } = await fetchJson('/dashboard/cleanup', 'POST');
    showResult('cleaned', { looked: String(lookedAt), closed: String(closed) });
  } catch {
    showResult('clean_failed', {}, 'bad');
  }
}

/** @param {string} key @param {Record<string, string>} values @param {string} [tone] */
function showResult(key, values, tone = 'good') {
  byId('result').dataset.tone = tone;
  byId('result').textContent = translate(key, values);
}

/** @param {string} name @param {Record<string, string>} values @param {string} notice the key of a text, or empty */
function setState(name, values = {}, notice = '') {
  state = { name, values, notice };
  showState(state);
}

function showTokenForm() {
  token = '';
  byId('entry').hidden = false;
  byId('overview').hidden = true;
  byId('pause').hidden = true;
  byId('lead').textContent = '';
  byId('token').focus();
}

function applyLanguage() {
  document.documentElement.lang = language();
  document.title = `${translate('dash_title')} · Latido`;
  translatePage(document);
  byId('language').textContent = translate('other_language');
  byId('language').lang = otherLanguage();
  setState(state.name, state.values, state.notice);
  updatePauseButton();
  overview.translate();
  clients.translate();
  byId('lead').textContent = overview.headline();
}

/** A token in the URL's fragment never reaches a server. It is removed from the address, and so from the history, at once. */
function takeTokenFromFragment() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
  if (location.hash) history.replaceState(null, '', location.pathname + location.search);
  return given;
}

/** @returns {Promise<string>} the empty string if there is no demo */
async function demoToken() {
  const response = await fetch('/demo/operator', { cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (response.status !== 200) return '';
  return (await response.json()).token;
}

async function main() {
  byId('language').addEventListener('click', () => { switchLanguage(); applyLanguage(); });
  byId('pause').addEventListener('click', togglePause);
  byId('cleanup').addEventListener('click', () => void cleanup());
  byId('filter').addEventListener('input', applyFilter);
  byId('form').addEventListener('submit', (event) => {
    event.preventDefault();
    const field = /** @type {HTMLTextAreaElement} */ (byId('token'));
    const given = field.value.trim();
    field.value = '';
    if (given) connect(async () => given, false);
  });
  const given = takeTokenFromFragment();
  addEventListener('hashchange', () => { const next = takeTokenFromFragment(); if (next) connect(async () => next, false); });
  applyLanguage();
  if (given) return connect(async () => given, false);
  const first = await demoToken().catch(() => undefined);
  if (first === '') {
    setState('setup');
    return showTokenForm();
  }
  let fresh = first;
  connect(async () => {
    const next = fresh ?? (await demoToken());
    fresh = undefined;
    if (!next) throw new RefusedError('token');
    return next;
  }, true);
}

void main();
