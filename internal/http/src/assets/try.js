// @ts-check
/** The page of `latido try`: one query, its row, and what it reads. */

import './try-i18n.js';
import { Choice } from './try-choice.js';
import { showValue } from './field-values.js';
import { ago, language, otherLanguage, switchLanguage, timeOfDay, translate, translatePage } from './i18n.js';

/** @typedef {import('./field-values.js').Field} Field */
/** @typedef {import('./try-choice.js').Part} Part */
/**
 * @typedef {{generation: number, name: string, file: string, every_ms: number, keys: Part[], params: Part[], examples: string[],
 *   initial: string | null, tables: {name: string, columns: string}[], notes: string[], unseen: string[], next: string[]}} Query
 */

const TICK_MS = 1_000, RETRY_MS = 2_000;

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));
const reducedMotion = matchMedia('(prefers-reduced-motion: reduce)');

/** @type {Query | undefined} */
let query;
/** @type {Choice | undefined} */
let choice;
/** @type {EventSource | undefined} */
let events;
/** The key whose row is shown. @type {string | null} */
let key = null;
/** @type {Field[]} */
let fields = [];
let changedAt = 0;
/** The mistakes in the file and in the choice; empty without one. */
let problem = '', refusal = '';
let state = 'connecting';

/** Fetches the query's description, again after each change of its file. */
async function load() {
  events?.close();
  try {
    const response = await fetch('/query', { cache: 'no-store' });
    if (!response.ok) throw new Error(`query: ${response.status}`);
    query = /** @type {Query} */ (await response.json());
  } catch {
    setState('reconnecting');
    setTimeout(() => void load(), RETRY_MS);
    return;
  }
  const { keys, params, examples, initial } = query;
  choice = new Choice(keys, params, examples, follow);
  showQuery();
  const wanted = key ?? (location.hash ? decodeURIComponent(location.hash.slice(1)) : initial);
  if (choice.isEmpty) return connect('');
  if (wanted !== null) choice.fill(wanted);
  connect(wanted);
}

/** Shows the row of another key. @param {string} chosen */
function follow(chosen) {
  history.replaceState(null, '', `#${encodeURIComponent(chosen)}`);
  connect(chosen);
}

/** @param {string | null} chosen the key, or null to follow only the file */
function connect(chosen) {
  events?.close();
  if (chosen !== key) fields = [];
  key = chosen;
  refusal = '';
  showNotice();
  byId('row').hidden = key === null;
  byId('row-title').textContent = key ? key : query?.name ?? '';
  const source = new EventSource(key === null ? '/events' : `/events?key=${encodeURIComponent(key)}`);
  events = source;
  source.addEventListener('open', () => setState(key === null ? 'try_idle' : 'try_waiting'));
  source.addEventListener('error', () => {
    setState('reconnecting');
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(() => events === source && connect(key), RETRY_MS);
  });
  source.addEventListener('text', ({ data }) => {
    const text = JSON.parse(data);
    problem = text.problem ?? '';
    if (text.generation !== query?.generation) void load();
    else showNotice();
  });
  source.addEventListener('refused', ({ data }) => {
    refusal = JSON.parse(data).message;
    showNotice();
    byId('row').hidden = true;
    setState('try_idle');
  });
  source.addEventListener('row', ({ data }) => showRow(JSON.parse(data)));
}

/** @param {{state: string, fields?: Field[] | null, changed_ms?: number, message?: string}} row */
function showRow(row) {
  byId('failure').hidden = row.state !== 'failed';
  byId('failure').textContent = row.message ?? '';
  byId('row').toggleAttribute('data-failed', row.state === 'failed');
  if (row.state === 'waiting') return setState('try_waiting');
  setState('live');
  if (row.state !== 'live') return;
  byId('no-row').hidden = !!row.fields;
  changedAt = row.changed_ms ?? 0;
  showFields(row.fields ?? []);
  tick();
}

/** @param {Field[]} now */
function showFields(now) {
  const list = byId('fields');
  const isSame = now.length === fields.length && now.every(({ name }, index) => name === fields[index]?.name);
  if (!isSame) {
    list.replaceChildren(...now.map(({ name }) => {
      const [group, term, value] = ['div', 'dt', 'dd'].map((tag) => document.createElement(tag));
      term.textContent = name;
      value.dataset.field = name;
      group.append(term, value);
      return group;
    }));
  }
  let changed = false;
  now.forEach((field, index) => {
    const element = /** @type {HTMLElement} */ (list.children[index]?.lastElementChild);
    showValue(element, field);
    if (isSame && fields[index].text !== field.text) {
      changed = true;
      flash(element);
    }
  });
  if (changed && !reducedMotion.matches) {
    byId('pulse').animate([{ transform: 'none' }, { transform: 'scale(1.13)', offset: 0.25 }, { transform: 'none' }], { duration: 420, easing: 'ease-out' });
  }
  fields = now;
}

/** Highlights a change for about a second. @param {HTMLElement} element */
function flash(element) {
  const tint = getComputedStyle(element).getPropertyValue('--flash');
  element.animate([{ color: tint }, { color: tint, offset: 0.25 }, {}], { duration: 1_100, easing: 'ease-out' });
}

/** @param {string} name the key of a text */
function setState(name) {
  state = name;
  byId('connection').dataset.state = name === 'try_waiting' ? 'connecting' : name;
  const text = translate(name, { every: every() });
  // Writing the same text again would make a screen reader repeat it.
  if (byId('connection-text').textContent !== text) byId('connection-text').textContent = text;
}

/** @returns {string} the interval of the reads, such as «5 s» */
function every() {
  const seconds = (query?.every_ms ?? 1_000) / 1_000;
  return seconds === 1 ? translate('try_second') : `${new Intl.NumberFormat(language()).format(seconds)} s`;
}

function showNotice() {
  const text = problem || refusal;
  byId('notice').hidden = !text;
  byId('notice').textContent = text;
}

/** Writes what does not change with the row, in the current language. */
function showQuery() {
  if (!query) return;
  document.title = `${query.name} · Latido`;
  byId('title').textContent = query.name;
  byId('lead').textContent = translate('try_lead', { file: query.file, every: every() });
  byId('next').textContent = query.next.join('\n');
  byId('reads').hidden = !query.tables.length && !query.notes.length && !query.unseen.length;
  byId('tables').replaceChildren(...query.tables.map(({ name, columns }) => {
    const [row, head, cell] = ['tr', 'th', 'td'].map((tag) => document.createElement(tag));
    head.setAttribute('scope', 'row');
    head.textContent = name;
    cell.textContent = columns;
    row.append(head, cell);
    return row;
  }));
  showRemarks('notes', query.notes);
  showRemarks('unseen-list', query.unseen);
  byId('unseen').hidden = !query.unseen.length;
}

/** @param {string} id @param {string[]} remarks */
function showRemarks(id, remarks) {
  byId(id).hidden = !remarks.length;
  byId(id).replaceChildren(...remarks.map((remark) => {
    const item = document.createElement('li');
    item.textContent = remark;
    return item;
  }));
}

/** Updates what depends only on time. */
function tick() {
  if (!changedAt) return;
  const time = /** @type {HTMLTimeElement} */ (byId('changed'));
  time.textContent = translate('try_changed', { ago: ago(Date.now() - changedAt) });
  time.dateTime = new Date(changedAt).toISOString();
  time.title = timeOfDay(changedAt);
}

function applyLanguage() {
  document.documentElement.lang = language();
  translatePage(document);
  const button = byId('language');
  button.textContent = translate('other_language');
  button.lang = otherLanguage();
  showQuery();
  fields.forEach((field, index) => showValue(/** @type {HTMLElement} */ (byId('fields').children[index]?.lastElementChild), field));
  setState(state);
  tick();
}

byId('language').addEventListener('click', () => {
  switchLanguage();
  applyLanguage();
});
setInterval(tick, TICK_MS);
applyLanguage();
void load();
