// @ts-check
/** Helpers for the elements of the operators' page. */

/** @param {string} selector */
export const find = (selector) => /** @type {HTMLElement} */ (document.querySelector(selector));

/** @param {HTMLElement} row @param {string} className */
export function appendCell(row, className) {
  const element = document.createElement('td');
  element.className = className;
  row.append(element);
  return element;
}

/** Changes an element's text only if it differs. @param {HTMLElement} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows a list, or the text for an empty one. @param {string} list its selector @param {number} count */
export function showEmptyText(list, count) {
  const scroll = /** @type {HTMLElement} */ (find(list).closest('.scroll'));
  scroll.hidden = !count;
  /** @type {HTMLElement} */ (scroll.nextElementSibling).hidden = !!count;
}
