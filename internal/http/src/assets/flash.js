// @ts-check
/** The mark of a number that has just changed. */

const reducedMotion = matchMedia('(prefers-reduced-motion: reduce)');

/** Highlights a change for about a second. @param {HTMLElement} element */
export function flash(element) {
  const tint = getComputedStyle(element).getPropertyValue('--flash');
  const frames = reducedMotion.matches
    ? [{ color: tint }, {}]
    : [{ color: tint, transform: 'translateY(-.07em)' }, { color: tint, transform: 'none', offset: 0.25 }, {}];
  element.animate(frames, { duration: 1_100, easing: 'ease-out' });
}
