// @ts-check
/** A running chart of one number: a step line over the last minutes, since a counter keeps its value until it changes. */

import { ago, number, translate } from './i18n.js';

/** The chart's time window grows from the first to the second value, so that a new page does not start empty. */
const MIN_SPAN_MS = 20_000, MAX_SPAN_MS = 180_000;
/** The most points kept; with more changes in one window, the oldest are dropped. */
const MAX_POINTS = 600;
/** The viewBox of the drawing, and the margin above and below the line. */
const WIDTH = 100, HEIGHT = 40, MARGIN = 4;
/** The smallest vertical range, so that a difference of one does not fill the chart. */
const MIN_RANGE = 4;

export class Chart {
  /** @type {{at: number, value: number}[]} */ #points = [];
  #svg; #area; #line; #marker; #top; #bottom; #from;
  #startedAt = 0;

  /** @param {HTMLElement} figure */
  constructor(figure) {
    const find = (/** @type {string} */ selector) => /** @type {Element} */ (figure.querySelector(selector));
    this.#svg = find('svg');
    this.#area = find('.area');
    this.#line = find('.line');
    this.#marker = find('.marker');
    this.#top = find('.top');
    this.#bottom = find('.bottom');
    this.#from = find('.from');
  }

  /** @param {number} value */
  add(value) {
    this.#startedAt ||= Date.now();
    this.#points.push({ at: Date.now(), value });
    if (this.#points.length > MAX_POINTS) this.#points.shift();
    this.draw();
  }

  draw() {
    const now = Date.now();
    const span = Math.min(MAX_SPAN_MS, Math.max(MIN_SPAN_MS, now - (this.#startedAt || now))), from = now - span;
    this.#from.textContent = ago(span);
    // Keep the last point before the window: its value holds at the window's edge.
    while (this.#points.length > 1 && this.#points[1].at <= from) this.#points.shift();
    if (!this.#points.length) {
      this.#svg.setAttribute('aria-label', translate('chart_empty'));
      return;
    }
    const values = this.#points.map((point) => point.value);
    const lowest = Math.min(...values), valueRange = Math.max(...values) - lowest;
    const range = Math.max(MIN_RANGE, valueRange), low = Math.max(0, lowest - Math.floor((range - valueRange) / 2));
    const x = (/** @type {number} */ at) => round(WIDTH * Math.max(0, (at - from) / span));
    const y = (/** @type {number} */ value) => round(HEIGHT - MARGIN - ((value - low) / range) * (HEIGHT - 2 * MARGIN));

    const [first, ...rest] = this.#points;
    let path = `M${x(first.at)} ${y(first.value)}`;
    for (const point of rest) path += `H${x(point.at)}V${y(point.value)}`;
    path += `H${WIDTH}`;
    this.#line.setAttribute('d', path);
    this.#area.setAttribute('d', `${path}V${HEIGHT}H${x(first.at)}Z`);
    // A line of zero length with round ends is a dot that the stretched viewBox can't deform.
    this.#marker.setAttribute('d', `M${WIDTH} ${y(values[values.length - 1])}h0`);
    this.#top.textContent = number(low + range);
    this.#bottom.textContent = number(low);
    this.#svg.setAttribute('aria-label', translate('chart', { from: number(values[0]), to: number(values[values.length - 1]) }));
  }
}

/** @param {number} n */
const round = (n) => Math.round(n * 100) / 100;
