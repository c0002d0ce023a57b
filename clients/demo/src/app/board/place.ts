import { DOCUMENT, Injectable, inject, signal } from '@angular/core';

/** What is on screen: a business, or all of them. It stands in the address, so that a wall screen can be started with it and a reload keeps it. */
@Injectable({ providedIn: 'root' })
export class Place {
  readonly #document = inject(DOCUMENT);
  readonly #values = new URLSearchParams(this.#document.defaultView?.location.search);
  readonly #id = signal(this.#values.get('negocio') ?? undefined);
  readonly #isWall = signal(this.#values.get('vista') === 'todos');
  readonly id = this.#id.asReadonly();
  readonly isWall = this.#isWall.asReadonly();

  show(id: string): void {
    this.#id.set(id);
    this.#isWall.set(false);
    this.#write();
  }

  showAll(): void {
    this.#isWall.set(true);
    this.#write();
  }

  #write(): void {
    const { location, history } = this.#document.defaultView ?? {};
    if (!location || !history) return;
    const values = new URLSearchParams(location.search);
    values.delete('vista');
    values.delete('negocio');
    if (this.#isWall()) values.set('vista', 'todos');
    else if (this.#id()) values.set('negocio', this.#id()!);
    history.replaceState(null, '', `${location.pathname}?${values}`);
  }
}
