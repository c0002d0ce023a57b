// @ts-check
/** A chart of one or two series over the last minutes, with the value at the pointer. */

import { clockTime, duration, say } from './words.js';

const WIDTH = 300, HEIGHT = 64, AIR = 3;
/** The narrowest span, so that a freshly started server fills its charts, and the widest: the server's history. */
const SHORTEST_S = 60, LONGEST_S = 600;
const NS = 'http://www.w3.org/2000/svg';

/** @typedef {{t: number, values: (number | null)[]}} Point */

export class Spark {
  #host; #svg; #name; #format; #least;
  /** @type {SVGPathElement[]} */ #lines = [];
  #area; #cursor; #tip;
  /** @type {Point[]} */ #points = [];
  #from = 0; #to = 1;

  /**
   * @param {HTMLElement} host
   * @param {{name: string, series: number, format: (value: number) => string, least?: number}} options `least`: the smallest range shown
   */
  constructor(host, { name, series, format, least = 1 }) {
    this.#host = host;
    this.#name = name;
    this.#format = format;
    this.#least = least;
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
    host.append(this.#svg, this.#tip);
    host.addEventListener('pointermove', (event) => this.#point(event.clientX));
    host.addEventListener('pointerleave', () => this.#point(NaN));
  }

  /** @param {Point[]} points in ascending order of time */
  draw(points) {
    this.#points = points;
    const last = points.at(-1);
    if (!last) return;
    this.#to = last.t;
    this.#from = last.t - Math.min(LONGEST_S, Math.max(SHORTEST_S, last.t - points[0].t));
    let most = this.#least;
    for (const { values } of points) for (const value of values) if (value !== null && value > most) most = value;
    const y = (/** @type {number} */ value) => (HEIGHT - 1 - (value / most) * (HEIGHT - AIR - 1)).toFixed(1);
    this.#lines.forEach((line, series) => {
      let path = '', area = '', start = '', end = '';
      let down = false;
      for (const point of points) {
        const value = point.values[series];
        if (value === null || value === undefined || point.t < this.#from) { down = false; continue; }
        const x = this.#x(point.t).toFixed(1);
        path += `${down ? 'L' : 'M'}${x} ${y(value)}`;
        start ||= x;
        end = x;
        down = true;
      }
      line.setAttribute('d', path);
      if (!series) area = path && `${path.replaceAll('M', 'L').replace('L', 'M')}L${end} ${HEIGHT}L${start} ${HEIGHT}Z`;
      if (!series) this.#area.setAttribute('d', area);
    });
    const now = last.values[0];
    const highest = Math.max(...points.map((point) => point.values[0] ?? 0));
    this.#svg.setAttribute('aria-label', say('chart_summary', {
      name: say(this.#name), now: now === null ? '–' : this.#format(now), most: this.#format(highest), span: duration(this.#to - this.#from),
    }));
  }

  /** @param {number} t */
  #x(t) {
    return ((t - this.#from) / (this.#to - this.#from)) * WIDTH;
  }

  /** @param {number} clientX NaN if the pointer has left the chart */
  #point(clientX) {
    const box = this.#svg.getBoundingClientRect();
    const t = this.#from + ((clientX - box.left) / box.width) * (this.#to - this.#from);
    const near = Number.isNaN(t) ? undefined : this.#points.reduce((best, point) => (Math.abs(point.t - t) < Math.abs(best.t - t) ? point : best), this.#points[0]);
    this.#tip.hidden = !near;
    this.#cursor.setAttribute('d', near ? `M${this.#x(near.t).toFixed(1)} 0V${HEIGHT}` : '');
    if (!near) return;
    const values = near.values.map((value) => (value === null ? '–' : this.#format(value))).join(' / ');
    this.#tip.textContent = `${clockTime(near.t * 1000)}  ${values}`;
    this.#tip.classList.toggle('left', this.#x(near.t) > WIDTH / 2);
  }
}
