// @ts-check
/** A list whose rows are kept by name, so that focus and reading position stay while the numbers change. */

/** @template Item, {{root: HTMLElement}} Cells */
export class Rows {
  #host; #tag; #make;
  /** @type {Map<string, any>} */ #known = new Map();

  /** @param {HTMLElement} host @param {string} tag of a row @param {(row: HTMLElement) => any} make the cells of a new row */
  constructor(host, tag, make) {
    this.#host = host;
    this.#tag = tag;
    this.#make = make;
  }

  /** @param {any[]} items @param {(item: any) => string} name @param {(cells: any, item: any) => void} write */
  show(items, name, write) {
    const wanted = new Set(items.map(name));
    for (const [key, cells] of this.#known) {
      if (wanted.has(key)) continue;
      cells.root.remove();
      this.#known.delete(key);
    }
    let next = /** @type {Element | null} */ (this.#host.firstElementChild);
    for (const item of items) {
      const key = name(item);
      let cells = this.#known.get(key);
      if (!cells) {
        cells = this.#make(document.createElement(this.#tag));
        this.#known.set(key, cells);
      }
      write(cells, item);
      if (cells.root === next) next = next?.nextElementSibling ?? null;
      else this.#host.insertBefore(cells.root, next);
    }
  }

  /** @param {string} name */
  forget(name) {
    this.#known.get(name)?.root.remove();
    this.#known.delete(name);
  }
}
