// @ts-check
/** The line that says how the connection is, and the notice beneath it: on every page of ours. */

import { say } from './words.js';

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @param {{ name: string, values: Record<string, string>, notice: string }} state names of words; no notice: empty */
export function showState({ name, values, notice }) {
  byId('link').dataset.state = name;
  const words = say(name, values);
  // Writing the same again would make a screen reader say it again.
  if (byId('link-words').textContent !== words) byId('link-words').textContent = words;
  byId('notice').hidden = !notice;
  byId('notice').textContent = notice && say(notice);
}
