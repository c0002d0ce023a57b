// @ts-check
/** The line with the connection's state and the notice below it, on every page. */

import { translate } from './i18n.js';

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @param {{ name: string, values: Record<string, string>, notice: string }} state `name` and `notice` are keys of texts; an empty notice means none */
export function showState({ name, values, notice }) {
  byId('connection').dataset.state = name;
  const label = translate(name, values);
  // Writing the same text again would make a screen reader repeat it.
  if (byId('connection-text').textContent !== label) byId('connection-text').textContent = label;
  byId('notice').hidden = !notice;
  byId('notice').textContent = notice && translate(notice);
}
