/** A server that says exactly what the test wants, for what the real one says rarely or never; and a clock that stands still. */

import type { Clock, WebSocketConstructor, WebSocketLike } from 'latido';

export class FakeSocket implements WebSocketLike {
  onopen: WebSocketLike['onopen'] = null;
  onmessage: WebSocketLike['onmessage'] = null;
  onclose: WebSocketLike['onclose'] = null;
  onerror: WebSocketLike['onerror'] = null;
  readonly sent: any[] = [];
  isClosed = false;

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {}

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(): void {
    this.isClosed = true;
  }

  /** Opens, and confirms what is asked for. */
  open(): this {
    this.onopen?.({});
    for (const { type, data } of this.sent) if (type === 'subscribe') this.says({ type: 'subscribed', data });
    return this;
  }

  says(frame: unknown): void {
    this.onmessage?.({ data: typeof frame === 'string' ? frame : JSON.stringify(frame) });
  }

  value(channel: string, v: number, data: object = { v }): void {
    this.says({ type: 'stats', data, channel, v });
  }

  ends(code: number): void {
    this.onclose?.({ code });
  }
}

export function fakes(): { sockets: FakeSocket[]; WebSocket: WebSocketConstructor } {
  const sockets: FakeSocket[] = [];
  return {
    sockets,
    WebSocket: class extends FakeSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        sockets.push(this);
      }
    },
  };
}

/** Passes when it is told to, and counts what is waited for. */
export class FakeClock implements Clock {
  readonly performance = { now: () => this.#now };
  readonly #timers = new Map<number, { at: number; call: () => void }>();
  #now = 0;
  #id = 0;

  get waiting(): number {
    return this.#timers.size;
  }

  setTimeout(call: () => void, ms: number): number {
    this.#timers.set(++this.#id, { at: this.#now + ms, call });
    return this.#id;
  }

  clearTimeout(id: number): void {
    this.#timers.delete(id);
  }

  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settled();
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.#now = due[1].at;
      due[1].call();
      await settled();
    }
    this.#now = end;
  }
}

/** Every promise that can be kept is kept. */
export const settled = () => new Promise<void>((resolve) => setImmediate(resolve));
