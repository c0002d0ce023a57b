/** Where things stand on a chart. Pure. */

import type { Point } from './history';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const TIME_STEPS = [5 * SECOND, 10 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR];
/** What the chart shows at least, so that the first seconds are not a cliff. */
export const SHORTEST_MS = 30 * SECOND;
/** A difference of one must not look like a cliff either. */
const LEAST_RANGE = 4;

/** The drawing's own units; the browser stretches it. */
export const WIDTH = 1000;
export const HEIGHT = 300;

/** The stretch of time and of numbers that is shown. */
export interface Frame {
  /** Unix ms. */
  readonly from: number;
  readonly to: number;
  /** Until when something is known: `to`, but for the first seconds. */
  readonly end: number;
  readonly low: number;
  readonly high: number;
}

/** Everything from the first point to now, the first seconds growing from the left, with some air above and below, on whole steps. */
export function frame(points: readonly Point[], now: number): Frame {
  const end = Math.max(now, points.at(-1)?.at ?? now);
  const from = points[0]?.at ?? end;
  const to = Math.max(end, from + SHORTEST_MS);
  const values = points.flatMap(({ value }) => (value === null ? [] : [value]));
  const least = Math.min(...values, Infinity);
  const most = Math.max(...values, -Infinity);
  if (!values.length) return { from, to, end, low: 0, high: LEAST_RANGE };
  const range = Math.max(LEAST_RANGE, most - least);
  const step = valueStep(range);
  const spare = (range - (most - least)) / 2;
  const low = Math.max(0, Math.floor((least - spare) / step) * step);
  return { from, to, end, low, high: Math.max(low + LEAST_RANGE, Math.ceil((most + spare) / step) * step) };
}

/** Whole numbers for the axis, some three of them. */
export function valueTicks({ low, high }: Frame): number[] {
  const step = valueStep(high - low);
  return Array.from({ length: Math.floor((high - low) / step) + 1 }, (_, index) => low + index * step);
}

/** 1, 2 or 5 times a power of ten: two to five of them in the range. */
function valueStep(range: number): number {
  const power = 10 ** Math.floor(Math.log10(range / 2));
  return Math.max(1, ([5, 2, 1].find((times) => times * power <= range / 2) ?? 1) * power);
}

/** Round moments of the browser's own day, at most `most` of them, none too near to an end. */
export function timeTicks({ from, to }: Pick<Frame, 'from' | 'to'>, most = 5): { step: number; ticks: number[] } {
  const step = TIME_STEPS.find((length) => (to - from) / length <= most) ?? 6 * HOUR;
  const start = new Date(from).setHours(0, 0, 0, 0);
  const air = (to - from) * 0.06;
  const ticks: number[] = [];
  for (let at = start + Math.ceil((from - start) / step) * step; at <= to; at += step) {
    if (at > from + air && at < to - air) ticks.push(at);
  }
  return { step, ticks };
}

/** From left to right, 0 to 1. */
export const across = ({ from, to }: Frame, at: number): number => (at - from) / (to - from);

/** From top to bottom, 0 to 1. */
export const down = ({ low, high }: Frame, value: number): number => (high - value) / (high - low);

/** Steps, for a counter keeps its value until it changes: a line and an area for what is known, and dashes across what is not. */
export interface Paths {
  readonly line: string;
  readonly area: string;
  readonly gap: string;
}

export function paths(points: readonly Point[], shown: Frame): Paths {
  const x = (at: number) => round(across(shown, at) * WIDTH);
  const y = (value: number) => round(down(shown, value) * HEIGHT);
  let [line, area, gap] = ['', '', ''];
  let level: number | undefined;
  points.forEach(({ at, value }, index) => {
    if (value === null) return;
    const end = points[index + 1]?.at ?? shown.end;
    const continues = level !== undefined && points[index - 1]?.value !== null;
    line += continues ? `V${y(value)}H${x(end)}` : `M${x(at)} ${y(value)}H${x(end)}`;
    area += `M${x(at)} ${HEIGHT}V${y(value)}H${x(end)}V${HEIGHT}Z`;
    if (level !== undefined && !continues) gap += `V${y(value)}`;
    if (points[index + 1]?.value === null) gap += `M${x(end)} ${y(value)}H${x(points[index + 2]?.at ?? shown.end)}`;
    level = value;
  });
  return { line, area, gap };
}

/** What the number was at a moment. */
export function valueAt(points: readonly Point[], at: number): Point | undefined {
  return points.findLast((point) => point.at <= at);
}

const round = (n: number) => Math.round(n * 10) / 10;
