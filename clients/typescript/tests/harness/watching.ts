/** A client that remembers what it said and was told. */

import type { Clock, LatidoError, LatidoOptions, Observer, Status, WebSocketConstructor } from 'latido';
import { Latido } from 'latido';
import { WebSocket } from 'ws';

import { until } from './until.js';

/** Time that passes faster for the client: a minute's patience in a second or so. Nothing is asserted about it. */
export function fast(factor: number): Clock {
  return {
    setTimeout: (call, ms) => setTimeout(call, ms / factor),
    clearTimeout,
    performance: { now: () => performance.now() * factor },
  };
}

/** What went over the wire. */
export class Wire {
  /** Sockets that were made. */
  sockets = 0;
  /** Sockets that opened and have not closed. */
  open = 0;
  readonly sent: { type: string; data?: any }[] = [];
  readonly heard: { type: string; data?: any }[] = [];
  readonly WebSocket: WebSocketConstructor;

  constructor() {
    const wire = this;
    this.WebSocket = class extends WebSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        wire.sockets++;
        this.on('open', () => wire.open++);
        this.on('message', (text) => wire.heard.push(JSON.parse(String(text))));
        this.on('close', () => wire.open--);
      }

      override send(text: any): void {
        wire.sent.push(JSON.parse(text));
        super.send(text);
      }
    };
  }

  count(type: string): number {
    return this.sent.filter((message) => message.type === type).length;
  }
}

/** A client whose wire is recorded. */
export function client(url: string, options: LatidoOptions): { latido: Latido; wire: Wire } {
  const wire = new Wire();
  return { latido: new Latido(url, { WebSocket: wire.WebSocket, ...options }), wire };
}

/** An observer that remembers. */
export class Seen<T> implements Observer<T> {
  readonly values: T[] = [];
  readonly statuses: Status[] = [];
  readonly errors: LatidoError[] = [];

  next(value: T): void {
    this.values.push(value);
  }

  error(error: LatidoError): void {
    this.errors.push(error);
  }

  status(_: string, status: Status): void {
    this.statuses.push(status);
  }

  get newest(): T {
    return this.values.at(-1)!;
  }

  get states(): string[] {
    return this.statuses.map(({ state }) => state);
  }

  /** The value that comes after those that have come. */
  async another(count = 1): Promise<T> {
    const had = this.values.length;
    await until('a value comes', () => this.values.length >= had + count);
    return this.newest;
  }

  async first(): Promise<T> {
    await until('the first value comes', () => this.values.length > 0);
    return this.values[0]!;
  }

  /** Until the newest state is this one, and so is its reason. */
  async is(state: string, code?: string): Promise<Status> {
    await until(`it is ${state} ${code ?? ''}, not ${this.states.join(' ')}`, () => this.#isNow(state, code));
    return this.statuses.at(-1)!;
  }

  /** Until it was told so, since `from`. */
  async was(state: string, code?: string): Promise<void> {
    const matches = (status: Status) => status.state === state && status.error?.code === code;
    await until(`it was ${state} ${code ?? ''}`, () => this.statuses.some(matches));
  }

  #isNow(state: string, code: string | undefined): boolean {
    const now = this.statuses.at(-1);
    return now?.state === state && (code === undefined || now.error?.code === code);
  }
}
