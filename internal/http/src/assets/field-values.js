// @ts-check
/** Writes the values of a row as text. Numbers come as text, because JavaScript cannot hold all of them. */

import { addTexts, language, translate } from './i18n.js';

addTexts({
  field_null: ['sin valor', 'no value'],
  field_true: ['sí', 'yes'],
  field_false: ['no', 'no'],
});

/** @typedef {{name: string, kind: string, text: string | null}} Field */

const LONG_NUMBER = 9, LONG_TEXT = 80;

const locale = () => (language() === 'es' ? 'es-EC' : 'en');

/** Formats the digits of a number exactly, with as many decimals as it has. @param {string} text */
function number(text) {
  const match = /^-?\d+(?:\.(\d+))?$/.exec(text);
  if (!match) return text;
  const digits = Math.min(match[1]?.length ?? 0, 20);
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  // The type of the library knows no text here (ECMA-402, Intl.NumberFormat.prototype.format).
  return new Intl.NumberFormat(locale(), options).format(/** @type {any} */ (text));
}

/** @param {string} text a date, or a date and a time, as JSON has it @param {Intl.DateTimeFormatOptions} options */
function moment(text, options) {
  const iso = /^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d.*)?$/.test(text);
  const at = iso ? Date.parse(text.length > 10 && options.timeZone ? `${text}Z` : text) : NaN;
  return Number.isNaN(at) ? text : new Intl.DateTimeFormat(locale(), options).format(at);
}

/** @param {Field} field @returns {string} */
function write({ kind, text }) {
  if (text === null) return '–';
  switch (kind) {
    case 'number': return number(text);
    case 'boolean': return translate(text === 'true' ? 'field_true' : 'field_false');
    case 'date': return moment(text, { dateStyle: 'medium', timeZone: 'UTC' });
    case 'local_time': return moment(text, { dateStyle: 'medium', timeStyle: 'medium', timeZone: 'UTC' });
    case 'instant': return moment(text, { dateStyle: 'medium', timeStyle: 'medium' });
    default: return text;
  }
}

/** Shows a field's value in its element. @param {HTMLElement} element @param {Field} field */
export function showValue(element, field) {
  const text = write(field);
  element.dataset.kind = field.kind;
  element.toggleAttribute('data-null', field.text === null);
  element.toggleAttribute('data-long', text.length > (field.kind === 'number' ? LONG_NUMBER : LONG_TEXT));
  const isRewritten = field.text !== null && text !== field.text && field.kind !== 'boolean';
  element.title = isRewritten ? field.text ?? '' : '';
  if (field.text !== null) {
    element.textContent = text;
    return;
  }
  const [mark, words] = [document.createElement('span'), document.createElement('span')];
  mark.setAttribute('aria-hidden', 'true');
  mark.textContent = text;
  words.className = 'unspoken';
  words.textContent = translate('field_null');
  element.replaceChildren(mark, words);
}

/** Returns a field of a frame's data, with the kind that its JSON shows. @param {string} name @param {unknown} value @returns {Field} */
export function fieldOf(name, value) {
  if (value === null || value === undefined) return { name, kind: 'text', text: null };
  if (typeof value === 'object') return { name, kind: 'json', text: JSON.stringify(value) };
  const text = String(value);
  return { name, kind: typeof value === 'string' ? textKind(text) : typeof value, text };
}

/** @param {string} text */
function textKind(text) {
  if (/^\d{4}-\d\d-\d\d$/.test(text)) return 'date';
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/.test(text)) return 'text';
  return /(Z|[+-]\d\d(:?\d\d)?)$/.test(text.slice(19)) ? 'instant' : 'local_time';
}
