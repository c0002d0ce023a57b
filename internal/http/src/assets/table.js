// @ts-check
/** A table body or list whose rows are kept by key, so that focus and reading position stay while the numbers change. */

export class KeyedRows {
  #container; #rowTag; #createCells;
  /** @type {Map<string, any>} */ #rows = new Map();

  /** @param {HTMLElement} container @param {string} rowTag of a row @param {(row: HTMLElement) => any} createCells the cells of a new row */
  constructor(container, rowTag, createCells) {
    this.#container = container;
    this.#rowTag = rowTag;
    this.#createCells = createCells;
  }

  /** @param {any[]} items @param {(item: any) => string} keyOf @param {(cells: any, item: any) => void} write */
  show(items, keyOf, write) {
    const keys = new Set(items.map(keyOf));
    for (const [key, cells] of this.#rows) {
      if (keys.has(key)) continue;
      cells.root.remove();
      this.#rows.delete(key);
    }
    let next = /** @type {Element | null} */ (this.#container.firstElementChild);
    for (const item of items) {
      const key = keyOf(item);
      let cells = this.#rows.get(key);
      if (!cells) {
        cells = this.#createCells(document.createElement(this.#rowTag));
        this.#rows.set(key, cells);
      }
      write(cells, item);
      if (cells.root === next) next = next?.nextElementSibling ?? null;
      else this.#container.insertBefore(cells.root, next);
    }
  }

  /** @param {string} key */
  remove(key) {
    this.#rows.get(key)?.root.remove();
    this.#rows.delete(key);
  }
}
