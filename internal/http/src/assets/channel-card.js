// @ts-check
/** The card of one business: its four numbers, its chart and its button. */

import { Chart } from './chart.js';
import { flash } from './flash.js';
import { ago, hasText, number, timeOfDay, translate, translatePage } from './i18n.js';

/** @typedef {import('./connection.js').Stats} Stats */
/** @typedef {'citas_hoy'|'total_citas'|'citas_completadas'|'citas_canceladas'} Field */

/** @type {Field[]} */
const FIELDS = ['citas_hoy', 'total_citas', 'citas_completadas', 'citas_canceladas'];
const RESULT_TEXT_MS = 1_600;
const BOOK_TIMEOUT_MS = 8_000;

const reducedMotion = matchMedia('(prefers-reduced-motion: reduce)');

export class ChannelCard {
  /** @type {Stats | undefined} */ stats;
  element;
  #id; #chart; #time; #delta; #error; #button;
  #updatedAt = 0;
  /** The key of the button's text. */ #buttonKey = 'book';
  #errorKey = '';
  #busy = false;

  /**
   * @param {{id: string, nombre: string}} negocio
   * @param {boolean} canBook
   */
  constructor(negocio, canBook) {
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById('card'));
    const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    this.element = /** @type {HTMLElement} */ (copy.firstElementChild);
    this.#id = negocio.id;
    const title = this.#find('h2');
    title.textContent = negocio.nombre;
    title.id = `negocio-${negocio.id}`;
    this.element.setAttribute('aria-labelledby', title.id);
    this.#chart = new Chart(this.#find('figure'));
    this.#time = /** @type {HTMLTimeElement} */ (this.#find('time'));
    this.#delta = this.#find('.delta');
    this.#error = this.#find('.error');
    this.#button = this.#find('.book');
    this.#button.hidden = !canBook;
    this.#button.addEventListener('click', () => this.#book());
    this.#button.setAttribute('aria-describedby', title.id);
    this.translate();
  }

  /** @param {string} selector */
  #find(selector) {
    return /** @type {HTMLElement} */ (this.element.querySelector(selector));
  }

  /** @param {Stats} stats */
  show(stats) {
    const before = this.stats;
    this.stats = stats;
    this.#updatedAt = Date.now();
    this.showError('');
    for (const field of FIELDS) {
      const element = this.#find(`[data-field=${field}]`);
      element.textContent = number(stats[field]);
      if (before && before[field] !== stats[field]) flash(element);
    }
    const change = before ? stats.citas_hoy - before.citas_hoy : 0;
    if (change) this.#showDelta(change);
    this.#chart.add(stats.citas_hoy);
    this.tick();
  }

  /** @param {number} change */
  #showDelta(change) {
    this.#delta.textContent = change > 0 ? `+${number(change)}` : `−${number(-change)}`;
    const frames = reducedMotion.matches
      ? [{ opacity: 1 }, { opacity: 1, offset: 0.9 }, { opacity: 0 }]
      : [{ opacity: 0, transform: 'translateY(.35em)' }, { opacity: 1, transform: 'none', offset: 0.12 }, { opacity: 1, offset: 0.7 }, { opacity: 0 }];
    this.#delta.animate(frames, { duration: 2_200, easing: 'ease-out' });
  }

  /** Updates the parts that depend only on time, once a second. @param {boolean} [chart] whether to move the chart as well */
  tick(chart = false) {
    this.#time.textContent = this.#updatedAt ? translate('updated', { ago: ago(Date.now() - this.#updatedAt) }) : translate('waiting');
    if (this.#updatedAt) {
      this.#time.dateTime = new Date(this.#updatedAt).toISOString();
      this.#time.title = timeOfDay(this.#updatedAt);
    }
    if (chart) this.#chart.draw();
  }

  /** @param {string} code the error code of the protocol, or the key of a text; empty if there is no error */
  showError(code) {
    this.#errorKey = code;
    this.#error.hidden = !code;
    this.#error.textContent = code && hasText(code) ? translate(code) : code;
  }

  translate() {
    translatePage(this.element);
    if (this.stats) for (const field of FIELDS) this.#find(`[data-field=${field}]`).textContent = number(this.stats[field]);
    this.showError(this.#errorKey);
    this.#setButtonText(this.#buttonKey);
    this.tick(true);
  }

  /** @param {string} key of the button's text */
  #setButtonText(key) {
    this.#buttonKey = key;
    this.#button.textContent = translate(key);
    this.#button.dataset.state = key;
  }

  async #book() {
    if (this.#busy) return;
    this.#busy = true;
    // Not `disabled`, which would remove the keyboard focus.
    this.#button.setAttribute('aria-disabled', 'true');
    this.#setButtonText('booking');
    const booked = await requestBooking(this.#id);
    if (!booked) this.showError('book_failed');
    else if (this.#errorKey === 'book_failed') this.showError('');
    this.#setButtonText(booked ? 'booked' : 'book');
    setTimeout(() => this.#setButtonText('book'), RESULT_TEXT_MS);
    this.#button.removeAttribute('aria-disabled');
    this.#busy = false;
  }
}

/**
 * @param {string} negocioId
 * @returns {Promise<boolean>}
 */
async function requestBooking(negocioId) {
  try {
    const response = await fetch('/demo/citas', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ negocio_id: negocioId }),
      signal: AbortSignal.timeout(BOOK_TIMEOUT_MS),
    });
    return response.status === 201;
  } catch {
    return false;
  }
}
