// @ts-check
/** The two fields of a range of days, and what is wrong with them. */

import { translate } from './i18n.js';

const DAY_MS = 86_400_000;
const MAX_DAYS = 366;
/** The days of the range that is shown at first. */
const FIRST_DAYS = 14;
/** The pause after which a typed date counts: a year is typed in four steps. */
const SETTLE_MS = 300;

/** @typedef {{from: string, to: string}} Range days as `2026-11-30`, both included */

/** @param {string} day @param {number} count */
export const addDays = (day, count) => new Date(Date.parse(day) + count * DAY_MS).toISOString().slice(0, 10);

/** @param {Range} range */
export const countDays = ({ from, to }) => Math.round((Date.parse(to) - Date.parse(from)) / DAY_MS) + 1;

export class DateRange {
  /** The last range without a mistake. @type {Range} */ value;
  #from; #to; #today; #onChange;
  #timer = 0;

  /**
   * @param {HTMLInputElement} from
   * @param {HTMLInputElement} to
   * @param {string} today
   * @param {() => void} onChange called when `value` has changed
   */
  constructor(from, to, today, onChange) {
    this.#from = from;
    this.#to = to;
    this.#today = today;
    this.#onChange = onChange;
    this.value = { from: addDays(today, 1 - FIRST_DAYS), to: today };
    this.#write();
    for (const input of [from, to]) {
      input.addEventListener('input', () => {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#read(input), SETTLE_MS);
      });
      input.addEventListener('blur', () => this.#read(input));
    }
  }

  /** Moves the range with the day if it ends today. Returns whether it moved. @param {string} today */
  setToday(today) {
    const passed = countDays({ from: this.#today, to: today }) - 1;
    const follows = this.value.to === this.#today;
    this.#today = today;
    if (passed && follows) this.value = { from: addDays(this.value.from, passed), to: today };
    if (passed) this.#write();
    return passed !== 0 && follows;
  }

  #write() {
    [this.#from.value, this.#to.value] = [this.value.from, this.value.to];
    this.#from.max = this.#to.max = this.#today;
    this.translate();
  }

  /** @param {HTMLInputElement} edited the field that shows a mistake which concerns both */
  #read(edited) {
    clearTimeout(this.#timer);
    const range = { from: this.#from.value, to: this.#to.value };
    const mistakes = new Map([[this.#from, this.#mistake(range.from)], [this.#to, this.#mistake(range.to)]]);
    if (![...mistakes.values()].some(Boolean)) mistakes.set(edited, rangeMistake(range));
    for (const [input, key] of mistakes) showMistake(input, key);
    if ([...mistakes.values()].some(Boolean)) return;
    if (range.from === this.value.from && range.to === this.value.to) return;
    this.value = range;
    this.#onChange();
  }

  /** Returns the key of a text, or an empty one. @param {string} day */
  #mistake(day) {
    if (!day) return 'range_missing';
    return day > this.#today ? 'range_future' : '';
  }

  /** Writes the mistakes in the current language. */
  translate() {
    for (const input of [this.#from, this.#to]) showMistake(input, input.dataset.mistake ?? '');
  }
}

/** @param {Range} range */
function rangeMistake(range) {
  const days = countDays(range);
  if (days < 1) return 'range_inverted';
  return days > MAX_DAYS ? 'range_long' : '';
}

/** @param {HTMLInputElement} input @param {string} key of a text; empty if there is no mistake */
function showMistake(input, key) {
  input.dataset.mistake = key;
  input.setAttribute('aria-invalid', String(!!key));
  const element = /** @type {HTMLElement} */ (document.getElementById(`${input.id}-error`));
  const text = key && translate(key);
  if (element.textContent !== text) element.textContent = text;
}
