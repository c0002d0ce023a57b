// @ts-check
/** The services of one business between two days: numbers, a chart by day, and a table. One channel, which the fields choose. */

import './services-i18n.js';
import { DateRange } from './date-range.js';
import { DayChart } from './day-chart.js';
import { appendCell, setText } from './dom.js';
import { flash } from './flash.js';
import { hasText, number, translate } from './i18n.js';
import { money } from './services-i18n.js';
import { KeyedRows } from './table.js';

/** @typedef {import('./connection.js').Session} Session */
/** @typedef {{nombre: string, citas: number, importe: number}} Service */
/** @typedef {{hoy: string, citas: number, citas_hoy: number, importe: number, servicios: Service[]}} Data */

/** The shortest time between two requests of one history that may be old, in ms. */
const HISTORY_INTERVAL_MS = 2_000;

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

export class ServicesPanel {
  #negocio; #range; #chart; #onChannel; #onOldHistory;
  #channel = '';
  #rows = new KeyedRows(byId('services-rows'), 'tr', createCells);
  /** @type {Data | undefined} */ #data;
  #errorKey = '';
  /** Whether a history is on its way. The connection asks for the first one, and again after an error. */ #isReading = true;
  /** Whether days before today may have changed since the history was asked for. */ #isOld = false;
  /** When the history was last asked for because it may be old, in ms. */ #requestedAt = -HISTORY_INTERVAL_MS;
  #historyTimer = 0;

  /**
   * @param {Session & {servicios: import('./connection.js').Services}} session
   * @param {(before: string, after: string) => void} onChannel called when the fields choose another channel
   * @param {(channel: string) => void} onOldHistory called when the history of the channel must be read again
   */
  constructor({ negocios, servicios }, onChannel, onOldHistory) {
    this.#onChannel = onChannel;
    this.#onOldHistory = onOldHistory;
    this.#negocio = /** @type {HTMLSelectElement} */ (byId('business'));
    this.#negocio.replaceChildren(...negocios.map(({ id, nombre }) => new Option(nombre, id)));
    this.#negocio.addEventListener('change', () => this.#choose());
    this.#range = new DateRange(byId('desde'), byId('hasta'), servicios.hoy, () => this.#choose());
    this.#chart = new DayChart(byId('days'), this.#range.value);
    this.#channel = this.#chosenChannel();
    document.addEventListener('visibilitychange', () => this.#refreshHistory());
    byId('range').addEventListener('submit', (event) => event.preventDefault());
    byId('query').textContent = servicios.consulta;
    byId('history-query').textContent = servicios.historia;
    byId('services').hidden = false;
  }

  get channel() {
    return this.#channel;
  }

  #chosenChannel() {
    const { from, to } = this.#range.value;
    return `servicios:${this.#negocio.value}?desde=${from}&hasta=${to}`;
  }

  #choose() {
    const before = this.#channel;
    this.#channel = this.#chosenChannel();
    if (before === this.#channel) return;
    this.#chart.clear(this.#range.value);
    this.#data = undefined;
    this.#isReading = true;
    this.#isOld = false;
    this.showError('');
    this.#onChannel(before, this.#channel);
  }

  /** A range that ends today ends at the new day. @param {string} today */
  setToday(today) {
    if (this.#range.setToday(today)) this.#choose();
  }

  /** @param {any[] | null} rows */
  showHistory(rows) {
    this.showError(rows ? '' : 'no_history');
    if (!rows) return;
    this.#isReading = false;
    this.#chart.fill(rows);
    this.#refreshHistory();
  }

  /** @param {Data} data */
  show(data) {
    const before = this.#data;
    this.#data = data;
    if (this.#errorKey !== 'no_history') this.showError('');
    this.#writeNumbers();
    if (before) this.#flashChanges(before, data);
    this.#chart.move(data.hoy, data.citas_hoy);
    this.setToday(data.hoy);
    // Any change may have moved a cita from one past day to another. Only the first numbers belong to the history before them.
    if (this.#data !== data || this.#range.value.from >= data.hoy) return;
    this.#isOld ||= !!before || this.#chart.total !== data.citas;
    this.#refreshHistory();
  }

  /** Asks for the history again if it may be old. One is read at a time, and none for a page that nobody sees. */
  #refreshHistory() {
    clearTimeout(this.#historyTimer);
    if (!this.#isOld || this.#isReading || document.hidden) return;
    const wait = this.#requestedAt + HISTORY_INTERVAL_MS - performance.now();
    if (wait > 0) {
      this.#historyTimer = setTimeout(() => this.#refreshHistory(), wait);
      return;
    }
    this.#requestedAt = performance.now();
    this.#isReading = true;
    this.#isOld = false;
    this.#onOldHistory(this.#channel);
  }

  #writeNumbers() {
    if (!this.#data) return;
    const { citas, citas_hoy, importe, servicios } = this.#data;
    byId('range-citas').textContent = number(citas);
    byId('range-today').textContent = number(citas_hoy);
    byId('range-income').textContent = money(importe);
    this.#rows.show(servicios, ({ nombre }) => nombre, (cells, /** @type {Service} */ service) => {
      setText(cells.name, service.nombre);
      setText(cells.citas, number(service.citas));
      setText(cells.income, money(service.importe));
    });
  }

  /** @param {Data} before @param {Data} now */
  #flashChanges(before, now) {
    if (before.citas !== now.citas) flash(byId('range-citas'));
    if (before.citas_hoy !== now.citas_hoy) flash(byId('range-today'));
    if (before.importe !== now.importe) flash(byId('range-income'));
  }

  /** @param {string} code the error code of the protocol, or the key of a text; empty if there is no error */
  showError(code) {
    this.#errorKey = code;
    byId('services-error').hidden = !code;
    byId('services-error').textContent = code && hasText(code) ? translate(code) : code;
  }

  translate() {
    this.#writeNumbers();
    this.#chart.draw();
    this.#range.translate();
    this.showError(this.#errorKey);
  }
}

/** @param {HTMLElement} row */
function createCells(row) {
  const name = document.createElement('th');
  name.scope = 'row';
  row.append(name);
  return { root: row, name, citas: appendCell(row, 'number'), income: appendCell(row, 'number') };
}
