// @ts-check
/** A chart of one or two series over the last minutes, with the value at the pointer. */

import { clockTime, duration, translate } from './i18n.js';

const WIDTH = 300, HEIGHT = 64, MARGIN = 3;
/** The narrowest span, so that a freshly started server fills its charts, and the widest: the server's history. */
const MIN_SPAN_S = 60, MAX_SPAN_S = 600;
const NS = 'http://www.w3.org/2000/svg';

/** @typedef {{t: number, values: (number | null)[]}} Point */

export class TimeChart {
  #container; #svg; #name; #format; #minRange;
  /** @type {SVGPathElement[]} */ #lines = [];
  #area; #cursor; #tip;
  /** @type {Point[]} */ #points = [];
  #from = 0; #to = 1;

  /**
   * @param {HTMLElement} container
   * @param {{name: string, series: number, format: (value: number) => string, minRange?: number}} options `minRange`: the smallest range shown
   */
  constructor(container, { name, series, format, minRange = 1 }) {
    this.#container = container;
    this.#name = name;
    this.#format = format;
    this.#minRange = minRange;
    this.#svg = document.createElementNS(NS, 'svg');
    this.#svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    this.#svg.setAttribute('preserveAspectRatio', 'none');
    this.#svg.setAttribute('role', 'img');
    const path = (/** @type {string} */ name) => {
      const element = document.createElementNS(NS, 'path');
      element.setAttribute('class', name);
      this.#svg.append(element);
      return element;
    };
    this.#area = path('area');
    for (let i = series - 1; i >= 0; i--) this.#lines[i] = path(i ? 'line second' : 'line');
    this.#cursor = path('cursor');
    this.#tip = document.createElement('span');
    this.#tip.className = 'tip';
    this.#tip.hidden = true;
    this.#tip.setAttribute('aria-hidden', 'true');
    container.append(this.#svg, this.#tip);
    container.addEventListener('pointermove', (event) => this.#showPoint(event.clientX));
    container.addEventListener('pointerleave', () => this.#showPoint(NaN));
  }

  /** @param {Point[]} points in ascending order of time */
  draw(points) {
    this.#points = points;
    const last = points.at(-1);
    if (!last) return;
    this.#to = last.t;
    this.#from = last.t - Math.min(MAX_SPAN_S, Math.max(MIN_SPAN_S, last.t - points[0].t));
    let top = this.#minRange;
    for (const { values } of points) for (const value of values) if (value !== null && value > top) top = value;
    const y = (/** @type {number} */ value) => (HEIGHT - 1 - (value / top) * (HEIGHT - MARGIN - 1)).toFixed(1);
    this.#lines.forEach((line, series) => {
      let path = '', area = '', start = '', end = '';
      let isDrawing = false;
      for (const point of points) {
        const value = point.values[series];
        if (value === null || value === undefined || point.t < this.#from) { isDrawing = false; continue; }
        const x = this.#x(point.t).toFixed(1);
        path += `${isDrawing ? 'L' : 'M'}${x} ${y(value)}`;
        start ||= x;
        end = x;
        isDrawing = true;
      }
      line.setAttribute('d', path);
      if (!series) area = path && `${path.replaceAll('M', 'L').replace('L', 'M')}L${end} ${HEIGHT}L${start} ${HEIGHT}Z`;
      if (!series) this.#area.setAttribute('d', area);
    });
    const now = last.values[0];
    const highest = Math.max(...points.map((point) => point.values[0] ?? 0));
    this.#svg.setAttribute('aria-label', translate('chart_summary', {
      name: translate(this.#name), now: now === null ? '–' : this.#format(now), most: this.#format(highest), span: duration(this.#to - this.#from),
    }));
  }

  /** @param {number} t */
  #x(t) {
    return ((t - this.#from) / (this.#to - this.#from)) * WIDTH;
  }

  /** @param {number} clientX NaN if the pointer has left the chart */
  #showPoint(clientX) {
    const box = this.#svg.getBoundingClientRect();
    const t = this.#from + ((clientX - box.left) / box.width) * (this.#to - this.#from);
    const nearest = Number.isNaN(t) ? undefined : this.#points.reduce((best, point) => (Math.abs(point.t - t) < Math.abs(best.t - t) ? point : best), this.#points[0]);
    this.#tip.hidden = !nearest;
    this.#cursor.setAttribute('d', nearest ? `M${this.#x(nearest.t).toFixed(1)} 0V${HEIGHT}` : '');
    if (!nearest) return;
    const values = nearest.values.map((value) => (value === null ? '–' : this.#format(value))).join(' / ');
    this.#tip.textContent = `${clockTime(nearest.t * 1000)}  ${values}`;
    this.#tip.classList.toggle('left', this.#x(nearest.t) > WIDTH / 2);
  }
}
