import { ChangeDetectionStrategy, Component, computed, input } from '@angular/core';

/** Strokes on a field of 24 by 24. */
const STROKES = {
  again: 'M20 11a8 8 0 1 0-2.3 6.3M20 5v6h-6',
  grid: 'M4 4h6.5v6.5H4zM13.5 4H20v6.5h-6.5zM4 13.5h6.5V20H4zM13.5 13.5H20V20h-6.5z',
  wide: 'M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5',
  out: 'M14 4h5a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1h-5M10 8l-4 4 4 4M6 12h9',
  system: 'M4 5h16v11H4zM9 20h6M12 16v4',
  light: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4',
  dark: 'M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z',
} as const;

export type IconName = keyof typeof STROKES;

/** A drawing beside words, or in a button that has a name. */
@Component({
  selector: 'latido-icon',
  changeDetection: ChangeDetectionStrategy.OnPush,
  template: `<svg viewBox="0 0 24 24" aria-hidden="true"><path [attr.d]="stroke()" /></svg>`,
})
export class Icon {
  readonly name = input.required<IconName>();
  protected readonly stroke = computed(() => STROKES[this.name()]);
}
