import { midnight, read, record, since, write, type Point } from './history';

const day = (...pairs: [number, number | null][]): Point[] => pairs.map(([at, value]) => ({ at, value }));

describe('the history of a day', () => {
  it('keeps changes only, and no gap before the first number', () => {
    expect(record([], { at: 1, value: null })).toEqual([]);
    const first = record([], { at: 1, value: 4 });
    expect(record(first, { at: 2, value: 4 })).toBe(first);
    expect(record(first, { at: 2, value: 5 })).toEqual(day([1, 4], [2, 5]));
  });

  it('never runs backwards', () => {
    expect(record(day([10, 1]), { at: 7, value: 2 })).toEqual(day([10, 1], [10, 2]));
  });

  it('loses what lasted the shortest, and neither an end nor a gap', () => {
    const points = day([0, 1], [10, 2], [11, 3], [30, null], [40, 4]);
    expect(record(points, { at: 90, value: 5 }, 5)).toEqual(day([0, 1], [11, 3], [30, null], [40, 4], [90, 5]));
  });

  it('begins at midnight with what was carried over', () => {
    const points = day([10, 1], [20, 2], [30, 3]);
    expect(since(5, points)).toBe(points);
    expect(since(25, points)).toEqual(day([25, 2], [30, 3]));
    expect(since(99, points)).toEqual(day([99, 3]));
    expect(since(99, day([10, 1], [20, null]))).toEqual([]);
    expect(since(99, [])).toEqual([]);
    expect(new Date(midnight(Date.now())).getHours()).toBe(0);
  });

  it('survives a reload, with a gap', () => {
    expect(read(write(day([10, 1], [20, 2]), 25))).toEqual(day([10, 1], [20, 2], [25, null]));
  });

  it('takes nothing that it did not write', () => {
    const strange = [undefined, '', '{}', 'null', '{"until":1,"points":[[2,"3"]]}', '{"until":1,"points":[[2,3],[1,3]]}', '{"until":1,"points":[7]}'];
    for (const text of strange) expect(read(text), text).toEqual([]);
  });
});
