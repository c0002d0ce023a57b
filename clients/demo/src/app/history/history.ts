/** What a number was in the course of a day. Pure. */

/** From `at` (Unix ms) on, the number was `value`; `null`: nobody knows, there was no connection. */
export interface Point {
  readonly at: number;
  readonly value: number | null;
}

/** Points kept of a day; of more, those that lasted the shortest go. */
export const MOST_POINTS = 720;

/** A day with one point more; unchanged if it says nothing new. */
export function record(points: readonly Point[], point: Point, most = MOST_POINTS): readonly Point[] {
  const last = points.at(-1);
  if (last ? last.value === point.value : point.value === null) return points;
  // A clock that was set back must not make the line run backwards.
  const next = [...points, { at: Math.max(point.at, last?.at ?? 0), value: point.value }];
  return next.length > most ? thinned(next) : next;
}

/** Without the point that was overtaken soonest. The first, the last, and whatever borders on a gap stay. */
function thinned(points: readonly Point[]): readonly Point[] {
  let shortest = Infinity;
  let victim = 1;
  for (let index = 1; index < points.length - 1; index++) {
    const [before, point, after] = [points[index - 1]!, points[index]!, points[index + 1]!];
    if (before.value === null || point.value === null || after.value === null) continue;
    if (after.at - point.at < shortest) [shortest, victim] = [after.at - point.at, index];
  }
  return points.filter((_, index) => index !== victim);
}

/** What belongs to the day that began at `midnight`; a number that was carried over begins there. */
export function since(midnight: number, points: readonly Point[]): readonly Point[] {
  const first = points.findIndex((point) => point.at >= midnight);
  if (first === 0) return points;
  const carried = points.at(first < 0 ? -1 : first - 1);
  const rest = first < 0 ? [] : points.slice(first);
  return carried && carried.value !== null ? [{ at: midnight, value: carried.value }, ...rest] : rest;
}

/** The beginning of the day of `at` where this browser is. */
export function midnight(at: number): number {
  return new Date(at).setHours(0, 0, 0, 0);
}

/** As text, with the moment until which the last number is known to have held. */
export function write(points: readonly Point[], until: number): string {
  return JSON.stringify({ until, points: points.map(({ at, value }) => [at, value]) });
}

/** What {@link write} wrote, with a gap since then; nothing of anything else. */
export function read(text: string | undefined): readonly Point[] {
  try {
    const { until, points } = JSON.parse(text ?? '') as { until: unknown; points: unknown };
    if (typeof until !== 'number' || !Array.isArray(points)) return [];
    const read: Point[] = [];
    for (const [at, value] of points as [unknown, unknown][]) {
      if (typeof at !== 'number' || at < (read.at(-1)?.at ?? 0) || (value !== null && typeof value !== 'number')) return [];
      read.push({ at, value });
    }
    return record(read.slice(-MOST_POINTS), { at: until, value: null });
  } catch {
    return [];
  }
}
