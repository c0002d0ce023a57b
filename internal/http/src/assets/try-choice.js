// @ts-check
/** The form for the key and the parameters of the query. */

import { translate } from './i18n.js';

/** @typedef {{name: string, input: string, values: string[]}} Part */

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

/** Encodes a part of a key as a channel's name does. @param {string} part */
const encodePart = (part) => encodeURIComponent(part).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

export class Choice {
  #keys; #params;

  /** @param {Part[]} keys @param {Part[]} params @param {string[]} examples @param {(key: string) => void} onChoice */
  constructor(keys, params, examples, onChoice) {
    this.#keys = keys;
    this.#params = params;
    const parts = [...keys, ...params];
    byId('form').hidden = !parts.length;
    byId('inputs').replaceChildren(...parts.map((part, index) => inputOf(part, index)));
    byId('form').onsubmit = (event) => {
      event.preventDefault();
      onChoice(this.text());
    };
    byId('examples').hidden = !examples.length;
    byId('example-list').replaceChildren(...examples.map((key) => {
      const [item, button] = [document.createElement('li'), document.createElement('button')];
      button.type = 'button';
      button.className = 'example';
      button.textContent = this.#isPlain ? key : key.split('/').map(decode).join(' / ');
      button.addEventListener('click', () => {
        this.#fillKey(key);
        /** @type {HTMLFormElement} */ (byId('form')).requestSubmit();
      });
      item.append(button);
      return item;
    }));
  }

  /** Whether there is nothing to choose. */
  get isEmpty() {
    return !this.#keys.length && !this.#params.length;
  }

  /** Whether a key is written as it is. */
  get #isPlain() {
    return this.#keys.length === 1 && !this.#params.length;
  }

  /** @returns {string} the key and the parameters as a channel's name writes them */
  text() {
    const values = [...this.#keys, ...this.#params].map((_, index) => /** @type {HTMLInputElement} */ (byId(`part-${index}`)).value);
    const keys = values.slice(0, this.#keys.length);
    if (this.#isPlain) return keys[0].trim();
    const query = new URLSearchParams(this.#params.map(({ name }, index) => [name, values[keys.length + index]]));
    const path = keys.map((key) => encodePart(key.trim())).join('/');
    return this.#params.length ? `${path}?${query}` : path;
  }

  /** Writes a key and its parameters into the form. @param {string} text */
  fill(text) {
    if (this.#isPlain) return this.#fillKey(text);
    const [path, query] = text.split('?');
    this.#fillKey(path);
    const values = new URLSearchParams(query ?? '');
    this.#params.forEach(({ name }, index) => {
      const value = values.get(name);
      if (value !== null) setValue(this.#keys.length + index, value);
    });
  }

  /** @param {string} path */
  #fillKey(path) {
    const parts = this.#isPlain ? [path] : path.split('/').map(decode);
    this.#keys.forEach((_, index) => setValue(index, parts[index] ?? ''));
  }
}

/** @param {string} part */
function decode(part) {
  try { return decodeURIComponent(part); } catch { return part; }
}

/** @param {number} index @param {string} value */
const setValue = (index, value) => void (/** @type {HTMLInputElement} */ (byId(`part-${index}`)).value = value);

/** @param {Part} part @param {number} index */
function inputOf({ name, input, values }, index) {
  const [group, label] = [document.createElement('div'), document.createElement('label')];
  label.htmlFor = `part-${index}`;
  label.textContent = name;
  const options = input === 'boolean' ? ['true', 'false'] : values;
  const field = document.createElement(options.length ? 'select' : 'input');
  field.id = label.htmlFor;
  if (field instanceof HTMLSelectElement) {
    for (const value of options) field.add(new Option(input === 'boolean' ? translate(`try_${value}`) : value, value));
  } else {
    field.type = input === 'date' ? 'date' : 'text';
    field.required = input !== 'text';
    field.inputMode = input === 'number' ? 'numeric' : 'text';
    field.spellcheck = false;
  }
  group.append(label, field);
  return group;
}
