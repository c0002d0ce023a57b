// @ts-check
/** The operators' table of channels: viewers, age of the last version, and a short form of the last data. */

import { appendCell, find, setText, showEmptyText } from './dom.js';
import { ago, language, number, translate } from './i18n.js';
import { KeyedRows } from './table.js';

/** @typedef {{name: string, viewers: number, at: number | null, v: number, data: Record<string, unknown> | null}} Channel */

export class ChannelList {
  #list = new KeyedRows(find('#rooms tbody'), 'tr', createCells);

  /** @param {{total: number, rows: Channel[]}} channels @param {number} now Unix seconds */
  show({ total, rows }, now) {
    const key = rows.length < total ? 'rooms_count' : 'rooms_all';
    find('#rooms-count').textContent = total ? translate(key, { shown: number(rows.length), total: number(total) }) : '';
    this.#list.show(rows, (channel) => channel.name, (cells, /** @type {Channel} */ channel) => {
      cells.name.textContent = channel.name;
      setText(cells.viewers, number(channel.viewers));
      setText(cells.age, channel.at == null ? '–' : ago(Math.max(0, now - channel.at) * 1000));
      // Write only if the data or the language has changed.
      const shown = `${language()} ${channel.v}`;
      if (cells.shown === shown) return;
      const isNew = cells.version !== undefined && cells.version !== channel.v;
      Object.assign(cells, { shown, version: channel.v });
      showData(cells.data, channel.data);
      if (isNew) highlight(cells.root);
    });
    showEmptyText('#rooms', rows.length);
  }
}

/** @param {HTMLElement} row */
function createCells(row) {
  return {
    root: row, name: appendCell(row, 'code'), viewers: appendCell(row, 'number'), age: appendCell(row, 'age faint'), data: appendCell(row, 'data'),
  };
}

/** Writes each column of a database row with its name. @param {HTMLElement} element @param {Record<string, unknown> | null} data */
function showData(element, data) {
  element.replaceChildren(...Object.entries(data ?? {}).map(([name, value]) => {
    const [pair, figure] = [document.createElement('span'), document.createElement('b')];
    figure.className = isNested(value) ? 'json' : '';
    figure.textContent = formatValue(value);
    pair.append(`${translate(name).toLowerCase()} `, figure);
    return pair;
  }));
}

/** Formats a column: a nested value as compact JSON. @param {unknown} value */
function formatValue(value) {
  if (typeof value === 'number') return number(value);
  return isNested(value) ? JSON.stringify(value) : String(value);
}

/** @param {unknown} value */
function isNested(value) {
  return typeof value === 'object' && value !== null;
}

/** @param {HTMLElement} row */
function highlight(row) {
  row.classList.remove('fresh');
  requestAnimationFrame(() => row.classList.add('fresh'));
}
