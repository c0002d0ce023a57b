// @ts-check
/** The operators' page except the sessions: health, charts, channels, events, counts. */

import { Rows } from './rows.js';
import { Spark } from './spark.js';
import { ago, clockTime, duration, language, number, say, short, size } from './words.js';

/** The length of the server's history: ten minutes. */
const POINTS = 600;
/** The figures are averages of the last seconds, so that they stay readable. */
const CALM_S = 5;

/** @typedef {Record<string, number | null>} Moment */

const ms = (/** @type {number} */ value) => `${short(value)} ms`;
/** Each chart: its name, its series, and the format of its values. @type {{name: string, series: string[], format: (value: number) => string, least: number}[]} */
const CHARTS = [
  { name: 'connections', series: ['connections'], format: number, least: 4 },
  { name: 'reads', series: ['reads'], format: short, least: 4 },
  { name: 'frames', series: ['frames'], format: short, least: 4 },
  { name: 'latency', series: ['read_p50', 'read_p99'], format: ms, least: 1 },
  { name: 'change', series: ['change_p50', 'change_p99'], format: ms, least: 1 },
  { name: 'memory', series: ['memory'], format: size, least: 1_000_000 },
];
/** The tone of each kind of event. @type {Record<string, string>} */
const TONES = { refused: 'warn', correction: 'warn', read_failed: 'bad', operator: 'accent', connected: 'good' };
const BAD_ENDS = ['too_slow', 'protocol', 'overloaded', 'too_many_messages', 'silent', 'dismissed'];

const find = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (document.querySelector(selector));

export class Board {
  /** @type {Moment[]} */ #moments = [];
  /** @type {any} */ #state;
  #sparks = CHARTS.map((chart) => new Spark(find(`[data-tile=${chart.name}] .spark`), { ...chart, series: chart.series.length }));
  #rooms = new Rows(find('#rooms tbody'), 'tr', makeRoom);
  #events = new Rows(find('#events'), 'li', makeEvent);

  /** @param {Record<string, (number | null)[]>} history one list per series */
  remember(history) {
    this.#moments = history.t.map((_, index) => Object.fromEntries(Object.entries(history).map(([name, list]) => [name, list[index]])));
  }

  /** Adds one second to the history. @param {Moment | null} moment */
  add(moment) {
    const last = this.#moments.at(-1);
    if (!moment || (last && (moment.t ?? 0) <= (last.t ?? 0))) return;
    this.#moments.push(moment);
    if (this.#moments.length > POINTS) this.#moments.shift();
  }

  /** @param {any} state */
  show(state) {
    this.#state = state;
    this.#health(state);
    this.#figures(state);
    this.#tables(state);
    for (const name of ['refusals', 'closes', 'reads']) bars(name, state[name]);
  }

  translate() {
    if (this.#state) this.show(this.#state);
  }

  lead() {
    const state = this.#state;
    return state ? say('dash_lead', { version: state.version, uptime: duration(state.uptime) }) : '';
  }

  /** @param {any} state */
  #health({ outlook, listening, stale, corrections, keys }) {
    const database = outlook?.database;
    set('database', !database ? '' : database.ok ? 'good' : 'bad',
      !database ? say('unknown') : database.ok ? say('ok_database', { ms: short(database.ms) }) : say('bad_database'));
    const listener = listening ? 'listening' : outlook?.listener === 'deaf' ? 'deaf' : 'connecting';
    set('listener', listening ? 'good' : 'warn', say(`listener_${listener}`));
    set('numbers', stale ? 'bad' : 'good', say(stale ? 'bad_numbers' : corrections ? 'fixes' : 'ok_numbers', { count: number(corrections) }));
    set('keys', keys ? 'good' : 'bad', say(keys ? 'ok_keys' : 'bad_keys'));
  }

  /** @param {any} state */
  #figures(state) {
    const now = state.now ?? {};
    const recent = this.#moments.slice(-CALM_S);
    const calm = (/** @type {string} */ name) => recent.reduce((sum, moment) => sum + (moment[name] ?? 0), 0) / (recent.length || 1);
    const time = (/** @type {string} */ name) => (now[name] == null ? '–' : short(now[name]));
    figure('connections', number(state.connections.open), '', say('connections_sub', {
      viewers: number(now.viewers ?? 0), sockets: number(state.connections.sockets), most: short(state.connections.most) }));
    figure('reads', short(calm('reads')), '', say('reads_sub', { changes: short(calm('changes')), dirty: number(now.dirty ?? 0) }));
    figure('frames', short(calm('frames')), '', say('frames_sub', { bytes: size(calm('bytes')), superseded: short(state.superseded) }));
    figure('latency', time('read_p50'), 'ms', say('latency_sub', { p99: `${time('read_p99')} ms` }));
    figure('change', time('change_p50'), 'ms', say('latency_sub', { p99: `${time('change_p99')} ms` }));
    const [value, unit] = size(now.memory ?? 0).split(' ');
    figure('memory', value, unit, say('memory_sub', { cpu: short(calm('cpu')), files: state.files.open == null ? '–' : number(state.files.open) }));
    CHARTS.forEach(({ series }, index) => {
      this.#sparks[index].draw(this.#moments.map((moment) => ({ t: moment.t ?? 0, values: series.map((name) => moment[name] ?? null) })));
    });
  }

  /** @param {any} state */
  #tables({ rooms, events, now }) {
    const at = now?.t ?? Date.now() / 1000;
    find('#rooms-count').textContent = rooms.rows.length < rooms.total
      ? say('rooms_count', { shown: number(rooms.rows.length), total: number(rooms.total) }) : rooms.total ? say('rooms_all', { total: number(rooms.total) }) : '';
    this.#rooms.show(rooms.rows, (room) => room.name, (cells, room) => {
      cells.name.textContent = room.name;
      write(cells.viewers, number(room.viewers));
      write(cells.age, room.at == null ? '–' : ago(Math.max(0, at - room.at) * 1000));
      // Write only if the data or the language has changed.
      const shown = `${language()} ${room.v}`;
      if (cells.shown === shown) return;
      const isNew = cells.version !== undefined && cells.version !== room.v;
      Object.assign(cells, { shown, version: room.v });
      fill(cells.data, room.data);
      if (isNew) again(/** @type {HTMLElement} */ (cells.name.closest('tr')));
    });
    empty('#rooms', rooms.rows.length);
    find('#events-count').textContent = say('events_count', { total: number(events.total) });
    this.#events.show(events.rows, (event) => String(event.seq), (cells, event) => {
      const tone = event.kind === 'listener' ? (event.reason === 'listening' ? 'good' : 'bad')
        : event.kind === 'staleness' ? (event.reason === 'fresh' ? 'good' : 'bad')
        : event.kind === 'closed' && BAD_ENDS.includes(event.reason) ? 'warn' : TONES[event.kind] ?? '';
      cells.root.dataset.tone = tone;
      write(cells.time, clockTime(event.at));
      cells.kind.textContent = say(`event_${event.kind}`);
      const reason = event.kind === 'connected' ? '' : event.reason.replaceAll('_', ' ');
      cells.text.textContent = [reason, event.detail].filter(Boolean).map((text) => ` ${text}`).join(' ·');
      write(cells.times, event.count > 1 ? `×${number(event.count)}` : '');
    });
    empty('#events', events.rows.length);
  }
}

/** @param {HTMLElement} row */
function makeRoom(row) {
  return { root: row, name: cell(row, 'code'), viewers: cell(row, 'number'), age: cell(row, 'age faint'), data: cell(row, 'data') };
}

/** @param {HTMLElement} item */
function makeEvent(item) {
  const [time, dot, what, times] = ['time', 'i', 'span', 'span'].map((tag) => document.createElement(tag));
  what.className = 'what';
  times.className = 'times';
  const [kind, text] = [document.createElement('b'), document.createElement('span')];
  text.className = 'faint';
  what.append(kind, text);
  item.append(time, dot, what, times);
  return { root: item, time, kind, text, times };
}

/** @param {HTMLElement} row @param {string} name */
export function cell(row, name) {
  const element = document.createElement('td');
  element.className = name;
  row.append(element);
  return element;
}

/** Changes an element's text only if it differs. @param {HTMLElement} element @param {string} text */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows a list, or the text for an empty one. @param {string} list @param {number} count */
export function empty(list, count) {
  const scroll = /** @type {HTMLElement} */ (find(list).closest('.scroll'));
  scroll.hidden = !count;
  /** @type {HTMLElement} */ (scroll.nextElementSibling).hidden = !!count;
}

/** Writes a short form of a database row. @param {HTMLElement} element @param {Record<string, unknown> | null} data */
function fill(element, data) {
  element.replaceChildren(...Object.entries(data ?? {}).map(([name, value]) => {
    const [pair, figure] = [document.createElement('span'), document.createElement('b')];
    figure.textContent = typeof value === 'number' ? number(value) : String(value);
    pair.append(`${say(name).toLowerCase()} `, figure);
    return pair;
  }));
}

/** @param {HTMLElement} row */
function again(row) {
  row.classList.remove('fresh');
  requestAnimationFrame(() => row.classList.add('fresh'));
}

/** @param {string} name @param {string} tone @param {string} words */
function set(name, tone, words) {
  const element = find(`[data-health=${name}]`);
  element.dataset.tone = tone;
  write(/** @type {HTMLElement} */ (element.querySelector('dd')), words);
}

/** @param {string} name @param {string} value @param {string} unit @param {string} sub */
function figure(name, value, unit, sub) {
  const element = /** @type {HTMLElement} */ (find(`[data-tile=${name}] .figure`));
  const small = document.createElement('small');
  small.textContent = unit;
  element.replaceChildren(value, ...(unit ? [small] : []));
  write(/** @type {HTMLElement} */ (find(`[data-tile=${name}] .sub`)), sub);
}

/** @param {string} name @param {Record<string, number>} counts */
function bars(name, counts) {
  const list = find(`[data-bars=${name}]`);
  const sorted = Object.entries(counts).sort((a, b) => b[1] - a[1]);
  const most = sorted[0]?.[1] ?? 1;
  const known = /** @type {HTMLElement[]} */ ([...list.children]);
  if (!sorted.length) {
    const none = document.createElement('div');
    none.innerHTML = '<dt class="faint"></dt><dd></dd>';
    /** @type {HTMLElement} */ (none.firstElementChild).textContent = say('none');
    return list.replaceChildren(none);
  }
  list.replaceChildren(...sorted.map(([reason, count], index) => {
    let row = known[index];
    if (!row?.querySelector('meter')) {
      row = document.createElement('div');
      row.innerHTML = '<dt></dt><dd><span></span></dd><dd class="bar-of"><meter min="0"></meter></dd>';
    }
    const words = reason.replaceAll('_', ' ');
    write(/** @type {HTMLElement} */ (row.querySelector('dt')), words);
    write(/** @type {HTMLElement} */ (row.querySelector('span')), number(count));
    const meter = /** @type {HTMLMeterElement} */ (row.querySelector('meter'));
    meter.max = most;
    meter.value = count;
    meter.setAttribute('aria-label', words);
    return row;
  }));
}
