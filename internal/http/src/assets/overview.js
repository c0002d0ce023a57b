// @ts-check
/** The operators' page except the sessions: health, charts, channels, events, counts. */

import { ChannelList } from './channel-list.js';
import { find, setText } from './dom.js';
import { EventList } from './event-list.js';
import { duration, number, shortNumber, size, translate } from './i18n.js';
import { TimeChart } from './time-chart.js';

/** The length of the server's history: ten minutes. */
const MAX_SECONDS = 600;
/** The figures are averages of the last seconds, so that they stay readable. */
const AVERAGE_S = 5;

/** @typedef {Record<string, number | null>} Second the server's figures of one second */

const ms = (/** @type {number} */ value) => `${shortNumber(value)} ms`;
/** Each chart: its name, its series, and the format of its values. @type {{name: string, series: string[], format: (value: number) => string, minRange: number}[]} */
const CHARTS = [
  { name: 'connections', series: ['connections'], format: number, minRange: 4 },
  { name: 'reads', series: ['reads'], format: shortNumber, minRange: 4 },
  { name: 'frames', series: ['frames'], format: shortNumber, minRange: 4 },
  { name: 'latency', series: ['read_p50', 'read_p99'], format: ms, minRange: 1 },
  { name: 'change', series: ['change_p50', 'change_p99'], format: ms, minRange: 1 },
  { name: 'memory', series: ['memory'], format: size, minRange: 1_000_000 },
];

export class Overview {
  /** @type {Second[]} */ #history = [];
  /** @type {any} */ #state;
  #charts = CHARTS.map((chart) => new TimeChart(find(`[data-tile=${chart.name}] .spark`), { ...chart, series: chart.series.length }));
  #channels = new ChannelList();
  #events = new EventList();

  /** @param {Record<string, (number | null)[]>} history one list per series */
  loadHistory(history) {
    this.#history = history.t.map((_, index) => Object.fromEntries(Object.entries(history).map(([name, list]) => [name, list[index]])));
  }

  /** Adds one second to the history. @param {Second | null} second */
  add(second) {
    const last = this.#history.at(-1);
    if (!second || (last && (second.t ?? 0) <= (last.t ?? 0))) return;
    this.#history.push(second);
    if (this.#history.length > MAX_SECONDS) this.#history.shift();
  }

  /** @param {any} state */
  show(state) {
    this.#state = state;
    showHealth(state);
    this.#showTiles(state);
    this.#channels.show(state.rooms, state.now?.t ?? Date.now() / 1000);
    this.#events.show(state.events);
    for (const name of ['refusals', 'closes', 'reads']) showBars(name, state[name]);
  }

  translate() {
    if (this.#state) this.show(this.#state);
  }

  /** Returns the version and the uptime, or an empty text before the first state. */
  headline() {
    const state = this.#state;
    return state ? translate('dash_lead', { version: state.version, uptime: duration(state.uptime) }) : '';
  }

  /** @param {any} state */
  #showTiles(state) {
    const now = state.now ?? {};
    const recent = this.#history.slice(-AVERAGE_S);
    const average = (/** @type {string} */ name) => recent.reduce((sum, second) => sum + (second[name] ?? 0), 0) / (recent.length || 1);
    const time = (/** @type {string} */ name) => (now[name] == null ? '–' : shortNumber(now[name]));
    showTile('connections', number(state.connections.open), '', translate('connections_sub', {
      viewers: number(now.viewers ?? 0), sockets: number(state.connections.sockets), most: shortNumber(state.connections.most) }));
    showTile('reads', shortNumber(average('reads')), '', translate('reads_sub', { changes: shortNumber(average('changes')), dirty: number(now.dirty ?? 0) }));
    showTile('frames', shortNumber(average('frames')), '', translate('frames_sub', { bytes: size(average('bytes')), superseded: shortNumber(state.superseded) }));
    showTile('latency', time('read_p50'), 'ms', translate('latency_sub', { p99: `${time('read_p99')} ms` }));
    showTile('change', time('change_p50'), 'ms', translate('latency_sub', { p99: `${time('change_p99')} ms` }));
    const [value, unit] = size(now.memory ?? 0).split(' ');
    showTile('memory', value, unit, translate('memory_sub', {
      cpu: shortNumber(average('cpu')), files: state.files.open == null ? '–' : number(state.files.open) }));
    CHARTS.forEach(({ series }, index) => {
      this.#charts[index].draw(this.#history.map((second) => ({ t: second.t ?? 0, values: series.map((name) => second[name] ?? null) })));
    });
  }
}

/** @param {any} state */
function showHealth({ outlook, listening, stale, corrections, keys }) {
  const database = outlook?.database;
  const asleep = !listening && outlook?.listener === 'asleep';
  setHealth('database', !database || asleep ? '' : database.ok ? 'good' : 'bad', asleep ? translate('asleep_database')
    : !database ? translate('unknown') : database.ok ? translate('ok_database', { ms: shortNumber(database.ms) }) : translate('bad_database'));
  const listener = listening ? 'listening' : ['deaf', 'asleep'].includes(outlook?.listener) ? outlook.listener : 'connecting';
  setHealth('listener', listening ? 'good' : asleep ? '' : 'warn', translate(`listener_${listener}`));
  setHealth('numbers', stale ? 'bad' : 'good', translate(stale ? 'bad_numbers' : corrections ? 'fixes' : 'ok_numbers', { count: number(corrections) }));
  setHealth('keys', keys ? 'good' : 'bad', translate(keys ? 'ok_keys' : 'bad_keys'));
}

/** @param {string} name @param {string} tone @param {string} text */
function setHealth(name, tone, text) {
  const element = find(`[data-health=${name}]`);
  element.dataset.tone = tone;
  setText(/** @type {HTMLElement} */ (element.querySelector('dd')), text);
}

/** @param {string} name @param {string} value @param {string} unit @param {string} detail */
function showTile(name, value, unit, detail) {
  const element = find(`[data-tile=${name}] .figure`);
  const small = document.createElement('small');
  small.textContent = unit;
  element.replaceChildren(value, ...(unit ? [small] : []));
  setText(find(`[data-tile=${name}] .sub`), detail);
}

/** Shows counts as bars, the longest first. @param {string} name @param {Record<string, number>} counts */
function showBars(name, counts) {
  const list = find(`[data-bars=${name}]`);
  const sorted = Object.entries(counts).sort((a, b) => b[1] - a[1]);
  const highest = sorted[0]?.[1] ?? 1;
  const rows = /** @type {HTMLElement[]} */ ([...list.children]);
  if (!sorted.length) {
    const none = document.createElement('div');
    none.innerHTML = '<dt class="faint"></dt><dd></dd>';
    /** @type {HTMLElement} */ (none.firstElementChild).textContent = translate('none');
    return list.replaceChildren(none);
  }
  list.replaceChildren(...sorted.map(([reason, count], index) => {
    let row = rows[index];
    if (!row?.querySelector('meter')) {
      row = document.createElement('div');
      row.innerHTML = '<dt></dt><dd><span></span></dd><dd class="bar-of"><meter min="0"></meter></dd>';
    }
    const label = reason.replaceAll('_', ' ');
    setText(/** @type {HTMLElement} */ (row.querySelector('dt')), label);
    setText(/** @type {HTMLElement} */ (row.querySelector('span')), number(count));
    const meter = /** @type {HTMLMeterElement} */ (row.querySelector('meter'));
    meter.max = highest;
    meter.value = count;
    meter.setAttribute('aria-label', label);
    return row;
  }));
}
