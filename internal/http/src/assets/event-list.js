// @ts-check
/** The operators' list of recent events. */

import { find, setText, showEmptyText } from './dom.js';
import { clockTime, number, translate } from './i18n.js';
import { KeyedRows } from './table.js';

/** The tone of each kind of event. @type {Record<string, string>} */
const TONES = { refused: 'warn', correction: 'warn', read_failed: 'bad', operator: 'accent', connected: 'good' };
/** The close reasons that a well-behaved client does not cause. */
const BAD_CLOSE_REASONS = ['too_slow', 'protocol', 'overloaded', 'too_many_messages', 'silent', 'dismissed'];

/** @typedef {{seq: number, at: number, kind: string, reason: string, detail: string, count: number}} ServerEvent */

export class EventList {
  #list = new KeyedRows(find('#events'), 'li', createCells);

  /** @param {{total: number, rows: ServerEvent[]}} events */
  show({ total, rows }) {
    find('#events-count').textContent = translate('events_count', { total: number(total) });
    this.#list.show(rows, (event) => String(event.seq), (cells, /** @type {ServerEvent} */ event) => {
      cells.root.dataset.tone = tone(event);
      setText(cells.time, clockTime(event.at));
      cells.kind.textContent = translate(`event_${event.kind}`);
      const reason = event.kind === 'connected' ? '' : event.reason.replaceAll('_', ' ');
      cells.detail.textContent = [reason, event.detail].filter(Boolean).map((part) => ` ${part}`).join(' ·');
      setText(cells.count, event.count > 1 ? `×${number(event.count)}` : '');
    });
    showEmptyText('#events', rows.length);
  }
}

/** @param {ServerEvent} event */
function tone({ kind, reason }) {
  switch (kind) {
    case 'listener': return reason === 'listening' ? 'good' : 'bad';
    case 'staleness': return reason === 'fresh' ? 'good' : 'bad';
    case 'closed': return BAD_CLOSE_REASONS.includes(reason) ? 'warn' : '';
    default: return TONES[kind] ?? '';
  }
}

/** @param {HTMLElement} item */
function createCells(item) {
  const [time, dot, text, count] = ['time', 'i', 'span', 'span'].map((tag) => document.createElement(tag));
  text.className = 'what';
  count.className = 'times';
  const [kind, detail] = [document.createElement('b'), document.createElement('span')];
  detail.className = 'faint';
  text.append(kind, detail);
  item.append(time, dot, text, count);
  return { root: item, time, kind, detail, count };
}
