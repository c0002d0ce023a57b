import { SHORTEST_MS, frame, paths, timeTicks, valueAt, valueTicks } from './scale';

const noon = new Date(2026, 10, 22, 12).getTime();
const MINUTE = 60_000;

describe('the frame of a chart', () => {
  it('holds every number, and half a minute at least', () => {
    const shown = frame([{ at: noon, value: 17 }], noon);
    expect(shown.to - shown.from).toBe(SHORTEST_MS);
    expect(shown.low).toBeLessThanOrEqual(15);
    expect(shown.high).toBeGreaterThanOrEqual(19);
  });

  it('never shows less than none', () => {
    expect(frame([{ at: noon, value: 0 }], noon).low).toBe(0);
    expect(frame([], noon)).toMatchObject({ low: 0, high: 4 });
  });

  it('ends with the last point where the clock lags', () => {
    expect(frame([{ at: noon, value: 1 }], noon - 9_000)).toMatchObject({ from: noon, end: noon });
  });

  it.each([1, 3, 7, 12, 40, 99, 640, 12_345])('has two to six round numbers for a range of %i', (most) => {
    const shown = frame([{ at: noon, value: 0 }, { at: noon + 1, value: most }], noon + MINUTE);
    const ticks = valueTicks(shown);
    expect(ticks.length).toBeGreaterThanOrEqual(2);
    expect(ticks.length).toBeLessThanOrEqual(6);
    expect(ticks.at(-1)).toBeGreaterThanOrEqual(most);
    expect(ticks.every(Number.isInteger)).toBe(true);
  });

  it.each([1, 4, 31, 250, 900])('has few round moments for %i minutes', (minutes) => {
    const { step, ticks } = timeTicks({ from: noon - minutes * MINUTE, to: noon });
    expect(ticks.length).toBeGreaterThan(0);
    expect(ticks.length).toBeLessThanOrEqual(5);
    expect(ticks.every((at) => (at - new Date(at).setHours(0, 0, 0, 0)) % step === 0)).toBe(true);
  });
});

describe('the line', () => {
  const shown = { from: 0, to: 1000, end: 1000, low: 0, high: 10 };

  it('goes in steps to the edge', () => {
    const { line, area, gap } = paths([{ at: 0, value: 5 }, { at: 500, value: 10 }], shown);
    expect(line).toBe('M0 150H500V0H1000');
    expect(area).toBe('M0 300V150H500V300ZM500 300V0H1000V300Z');
    expect(gap).toBe('');
  });

  it('is broken where nobody knows', () => {
    const points = [{ at: 0, value: 5 }, { at: 200, value: null }, { at: 500, value: 10 }];
    expect(paths(points, shown)).toMatchObject({ line: 'M0 150H200M500 0H1000', gap: 'M200 150H500V0' });
    expect(paths(points.slice(0, 2), shown).gap).toBe('M200 150H1000');
    expect(valueAt(points, 300)?.value).toBeNull();
    expect(valueAt(points, -1)).toBeUndefined();
  });
});
