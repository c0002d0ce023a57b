/** The browser's storage, which may be forbidden or full: then nothing is remembered, and nothing fails. */
type Kind = 'local' | 'session';

const storage = (kind: Kind): Storage => (kind === 'local' ? localStorage : sessionStorage);

export function readStored(kind: Kind, key: string): string | undefined {
  try {
    return storage(kind).getItem(key) ?? undefined;
  } catch {
    return undefined;
  }
}

export function writeStored(kind: Kind, key: string, value: string): void {
  try {
    storage(kind).setItem(key, value);
  } catch {
    // It lasts as long as the page.
  }
}

export function dropStored(kind: Kind, key: string): void {
  try {
    storage(kind).removeItem(key);
  } catch {
    // It was never there.
  }
}
