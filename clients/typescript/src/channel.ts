import type { ChannelOf } from './types.js';

/** A key part, or the value of a parameter. A `Date` stands for its day, in the time zone of this runtime. */
export type Part = string | number | bigint | boolean | Date;

/** Parameters by name, in any order. What is `null` or `undefined` is left out. */
export type Params = Readonly<Record<string, Part | null | undefined>>;

/**
 * The name of a channel: `channel('ventas', [7, 3], { desde: '2026-11-01' })` is `ventas:7/3?desde=2026-11-01`.
 *
 * A single part is written as it is, because a server takes it so where a stream has one part and no parameters. Everywhere else it
 * decodes them: give `params` for a stream that has some, `{}` if none is chosen.
 *
 * @param key the parts in the stream's order, or the only one; none for a stream without a key
 * @throws RangeError for a date that is none; URIError for a text that is not well-formed
 */
export function channel<N extends string>(stream: N, key: Part | readonly Part[] = [], params?: Params): ChannelOf<N> {
  const parts = [key].flat().map(text);
  const isPlain = !params && parts.length === 1;
  const name = parts.length ? `${stream}:${isPlain ? parts[0] : parts.map(encodeURIComponent).join('/')}` : stream;
  // Sorted, so that one choice has one name, and one subscription.
  const chosen = Object.entries(params ?? {}).sort();
  const query = chosen.flatMap(([param, value]) => (value == null ? [] : `${encodeURIComponent(param)}=${encodeURIComponent(text(value))}`));
  return (query.length ? `${name}?${query.join('&')}` : name) as ChannelOf<N>;
}

function text(part: Part): string {
  // The day as people see it here: midnight of a picked day is often another day in UTC.
  return part instanceof Date ? new Date(+part - part.getTimezoneOffset() * 60_000).toISOString().slice(0, 10) : String(part);
}
