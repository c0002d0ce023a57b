// @ts-check
/** The line with the connection's state and the notice below it, on every page. */

import { say } from './words.js';

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @param {{ name: string, values: Record<string, string>, notice: string }} state keys of texts; an empty notice means none */
export function showState({ name, values, notice }) {
  byId('link').dataset.state = name;
  const words = say(name, values);
  // Writing the same text again would make a screen reader repeat it.
  if (byId('link-words').textContent !== words) byId('link-words').textContent = words;
  byId('notice').hidden = !notice;
  byId('notice').textContent = notice && say(notice);
}
