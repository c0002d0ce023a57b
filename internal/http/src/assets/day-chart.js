// @ts-check
/** A chart of one number per day. The rows of a history fill it, and single days move afterwards. */

import { addDays, countDays } from './date-range.js';
import { number, translate } from './i18n.js';
import { dayText } from './services-i18n.js';

/** The viewBox of the drawing. */
const WIDTH = 1000, HEIGHT = 100;
/** The part of a day's width that its bar fills. */
const FILLED = 0.72;
/** The smallest vertical range. */
const MIN_RANGE = 4;
const NS = 'http://www.w3.org/2000/svg';

/** @typedef {import('./date-range.js').Range} Range */

export class DayChart {
  /** @type {Range} */ #range;
  /** @type {Map<string, number>} */ #values = new Map();
  /** @type {SVGRectElement[]} */ #bars = [];
  /** The day that changes move. */ #liveDay = '';
  #svg; #top; #from; #to; #tip;

  /** @param {HTMLElement} figure @param {Range} range */
  constructor(figure, range) {
    const find = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (figure.querySelector(selector));
    this.#svg = find('svg');
    this.#top = find('.top');
    this.#from = find('.from');
    this.#to = find('.to');
    this.#tip = find('.tip');
    this.#range = range;
    figure.addEventListener('pointermove', (event) => this.#showDay(event.clientX));
    figure.addEventListener('pointerleave', () => this.#showDay(NaN));
    this.clear(range);
  }

  /** Empties the chart for another range. @param {Range} range */
  clear(range) {
    this.#range = range;
    this.#values.clear();
    this.#bars = Array.from({ length: countDays(range) }, () => document.createElementNS(NS, 'rect'));
    this.#svg.replaceChildren(...this.#bars);
    this.#showDay(NaN);
    this.draw();
  }

  /** Shows these days, and no others. @param {{dia: string, citas: number}[]} rows */
  fill(rows) {
    this.#values = new Map(rows.map(({ dia, citas }) => [dia, citas]));
    this.draw();
  }

  /** The sum of the days of the range. */
  get total() {
    const { from, to } = this.#range;
    return [...this.#values].reduce((sum, [day, value]) => (day < from || day > to ? sum : sum + value), 0);
  }

  /** Moves one day, if the chart has it. @param {string} day @param {number} value */
  move(day, value) {
    const isSame = this.#liveDay === day && this.#values.get(day) === value;
    this.#liveDay = day;
    if (isSame || day < this.#range.from || day > this.#range.to) return;
    this.#values.set(day, value);
    this.draw();
  }

  draw() {
    const { from, to } = this.#range;
    const [peak, most] = [...this.#values].reduce((best, entry) => (entry[1] > best[1] ? entry : best), [to, 0]);
    const range = Math.max(MIN_RANGE, most), width = WIDTH / this.#bars.length;
    this.#bars.forEach((bar, index) => {
      const day = addDays(from, index), height = (HEIGHT * (this.#values.get(day) ?? 0)) / range;
      bar.setAttribute('class', day === this.#liveDay ? 'live' : '');
      bar.setAttribute('x', (width * (index + (1 - FILLED) / 2)).toFixed(2));
      bar.setAttribute('width', (width * FILLED).toFixed(2));
      bar.setAttribute('y', (HEIGHT - height).toFixed(2));
      bar.setAttribute('height', height.toFixed(2));
    });
    this.#top.textContent = number(range);
    this.#from.textContent = dayText(from);
    this.#to.textContent = dayText(to);
    this.#svg.setAttribute('aria-label', translate(most ? 'days_chart' : 'days_empty', {
      from: dayText(from), to: dayText(to), most: number(most), peak: dayText(peak), last: number(this.#values.get(to) ?? 0),
    }));
  }

  /** @param {number} clientX NaN if the pointer has left the chart */
  #showDay(clientX) {
    const box = this.#svg.getBoundingClientRect();
    const index = Math.floor(((clientX - box.left) / box.width) * this.#bars.length);
    this.#bars.forEach((bar, own) => bar.toggleAttribute('data-shown', own === index));
    this.#tip.hidden = !this.#bars[index];
    if (this.#tip.hidden) return;
    const day = addDays(this.#range.from, index);
    this.#tip.textContent = `${dayText(day, { weekday: 'short', day: 'numeric', month: 'short' })}: ${number(this.#values.get(day) ?? 0)}`;
  }
}
