/** Motion with restraint: short, small, and next to none for who asked for none. */

const isReduced = (): boolean => globalThis.matchMedia?.('(prefers-reduced-motion: reduce)').matches ?? false;

/** Animates where the browser can; with reduced motion only what does not move. */
export function animate(element: Element | undefined, calm: Keyframe[], lively: Keyframe[], ms: number): void {
  element?.animate?.(isReduced() ? calm : lively, { duration: ms, easing: 'cubic-bezier(.2, .7, .2, 1)' });
}
