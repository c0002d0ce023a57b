// @ts-check
/** The card of a channel of any stream: every column of its row by name. */

import './rows-i18n.js';
import { fieldOf, showValue } from './field-values.js';
import { flash } from './flash.js';
import { ago, hasText, timeOfDay, translate, translatePage } from './i18n.js';

/** @typedef {import('./field-values.js').Field} Field */

export class RowCard {
  /** The data of the last frame. @type {Record<string, unknown> | undefined} */ stats;
  element;
  #time; #list; #empty; #error;
  /** @type {Field[]} */ #fields = [];
  #updatedAt = 0;
  #code = ''; #message = '';

  /** @param {string} channel */
  constructor(channel) {
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById('row-card'));
    const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    this.element = /** @type {HTMLElement} */ (copy.firstElementChild);
    const find = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (this.element.querySelector(selector));
    const title = find('h2');
    title.textContent = channel;
    title.id = `channel-${encodeURIComponent(channel)}`;
    this.element.setAttribute('aria-labelledby', title.id);
    this.#time = /** @type {HTMLTimeElement} */ (find('time'));
    this.#list = find('dl');
    this.#empty = find('.help');
    this.#error = find('.error');
    this.translate();
  }

  /** @param {Record<string, unknown>} data */
  show(data) {
    this.stats = data;
    this.#updatedAt = Date.now();
    this.showError('');
    // Each frame ends with the time of its read, which is no column.
    const fields = Object.entries(data).filter(([name]) => name !== 'timestamp').map(([name, value]) => fieldOf(name, value));
    const isSame = fields.length === this.#fields.length && fields.every(({ name }, index) => name === this.#fields[index].name);
    if (!isSame) this.#list.replaceChildren(...fields.map(createField));
    const before = this.#fields;
    this.#fields = fields;
    this.#writeValues();
    fields.forEach(({ text }, index) => isSame && text !== before[index].text && flash(this.#valueAt(index)));
    this.#list.hidden = !fields.length;
    this.#empty.hidden = !!fields.length;
    this.tick();
  }

  #writeValues() {
    this.#fields.forEach((field, index) => showValue(this.#valueAt(index), field));
  }

  /** @param {number} index */
  #valueAt(index) {
    return /** @type {HTMLElement} */ (this.#list.children[index].lastElementChild);
  }

  /** Updates what depends only on time, once per second. */
  tick() {
    this.#time.textContent = this.#updatedAt ? translate('updated', { ago: ago(Date.now() - this.#updatedAt) }) : this.#code ? '' : translate('row_waiting');
    if (!this.#updatedAt) return;
    this.#time.dateTime = new Date(this.#updatedAt).toISOString();
    this.#time.title = timeOfDay(this.#updatedAt);
  }

  /** @param {string} code the error code of the protocol; empty if there is no error @param {string} [message] of the server, in English */
  showError(code, message = '') {
    [this.#code, this.#message] = [code, message];
    this.element.classList.toggle('failed', !!code);
    this.#error.hidden = !code;
    const key = hasText(`row_${code}`) ? `row_${code}` : code;
    const expected = message.split('; expected ')[1] ?? message;
    this.#error.textContent = hasText(key) ? translate(key, { message, expected }) : message || code;
    this.tick();
  }

  translate() {
    translatePage(this.element);
    this.#writeValues();
    this.showError(this.#code, this.#message);
  }
}

/** @param {Field} field */
function createField({ name }) {
  const [group, term, value] = ['div', 'dt', 'dd'].map((tag) => document.createElement(tag));
  term.textContent = name;
  value.dataset.field = name;
  group.append(term, value);
  return group;
}
