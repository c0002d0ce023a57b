// @ts-check
/** The form without a demo: a token, and what to show. A server with the built-in stream is asked by the ids of businesses, another by channels. */

import './rows-i18n.js';
import { translate } from './i18n.js';

const BUILTIN = 'estadisticas';
/** The number of streams that the help names. */
const NAMED = 5;

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

/** @typedef {{token: string, ids: string[], channels: string[]}} Entry `ids` are those of businesses */

export class EntryForm {
  /** The streams of the server. @type {string[]} */ #streams = [];
  #takesChannels = false;
  #input = /** @type {HTMLInputElement} */ (byId('ids'));

  /** @param {(entry: Entry) => void} onSubmit */
  constructor(onSubmit) {
    byId('form').addEventListener('submit', (event) => {
      event.preventDefault();
      const token = /** @type {HTMLTextAreaElement} */ (byId('token')).value.trim();
      const { ids, channels } = this.#parse();
      if (token && ids.length + channels.length) onSubmit({ token, ids, channels });
    });
    this.#input.addEventListener('input', () => this.#writeCommands());
  }

  /** Tells which streams the server has, as `/ready` says to everybody. What somebody has typed keeps its meaning. @param {string[]} names */
  setStreams(names) {
    this.#streams = names;
    if (names.length && !this.#input.value) this.#takesChannels = !names.includes(BUILTIN);
    this.translate();
  }

  /** The key of the page's title. */
  get title() {
    return this.#takesChannels ? 'rows_title' : 'title';
  }

  /** @param {string} text */
  #isChannel(text) {
    return this.#streams.includes(text.split(/[:?]/)[0]);
  }

  /** @returns {Omit<Entry, 'token'>} */
  #parse() {
    const text = this.#input.value;
    if (this.#takesChannels) return { ids: [], channels: this.#splitChannels(text) };
    const parts = [...new Set(text.split(/[\s,]+/).filter(Boolean))];
    return { ids: parts.filter((part) => !this.#isChannel(part)), channels: parts.filter((part) => this.#isChannel(part)) };
  }

  /** Splits at the commas before a stream's name; another comma belongs to a key. @param {string} text */
  #splitChannels(text) {
    /** @type {string[]} */
    const channels = [];
    for (const part of text.split(',')) {
      if (channels.length && !this.#isChannel(part.trim())) channels[channels.length - 1] += `,${part}`;
      else channels.push(part);
    }
    return [...new Set(channels.map((channel) => channel.trim()).filter(Boolean))];
  }

  /** Writes the texts that depend on the server's streams, in the current language. */
  translate() {
    const others = this.#streams.filter((name) => name !== BUILTIN);
    const names = others.slice(0, NAMED).join(', ') + (others.length > NAMED ? ', …' : '');
    const example = `${others[0] ?? 'ventas'}:7`;
    write('title', this.title);
    write('lead', this.#takesChannels ? 'rows_lead' : 'lead');
    write('ids-label', this.#takesChannels ? 'channels' : 'ids');
    const help = this.#takesChannels
      ? [translate('channels_served', { names }), translate('channels_help', { example: `${example}, ${example}?desde=2026-01-01` })]
      : [translate('ids_help'), others.length ? translate('channels_too', { names }) : ''];
    byId('ids-help').textContent = help.filter(Boolean).join(' ');
    for (const element of document.querySelectorAll('[data-text^=how_more]')) {
      element.setAttribute('data-text', this.#takesChannels ? 'how_more_channels' : 'how_more');
      element.textContent = translate(element.getAttribute('data-text') ?? '');
    }
    this.#writeCommands();
  }

  /** Writes the channel and the rights of a token into the commands. */
  #writeCommands() {
    const [typed] = this.#parse().channels;
    const unknown = this.#takesChannels ? translate('channel_word') : `${BUILTIN}:ID`;
    const channel = typed && !typed.includes("'") ? `'${typed}'` : unknown;
    for (const element of document.querySelectorAll('[data-command=channel]')) element.textContent = channel;
    for (const element of document.querySelectorAll('[data-command=rights]')) element.textContent = this.#takesChannels ? '--rol admin_sistema' : '--negocio ID';
  }
}

/** @param {string} id @param {string} key of a text, also after a change of the language */
function write(id, key) {
  byId(id).dataset.text = key;
  byId(id).textContent = translate(key);
}
