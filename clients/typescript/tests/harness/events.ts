/** A server of event streams that says exactly what the test wants. */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import { until } from './until.js';

/** One request for events, and its answer. */
export class EventRequest {
  isEnded = false;
  readonly token: string;
  readonly url: URL;

  constructor(
    request: IncomingMessage,
    readonly response: ServerResponse,
  ) {
    this.url = new URL(request.url!, 'http://server');
    this.token = request.headers.authorization!.replace('Bearer ', '');
    response.on('close', () => (this.isEnded = true));
  }

  get channels(): string[] {
    return this.url.searchParams.getAll('channel');
  }

  /** Sends the head, which alone makes it a stream. */
  answers(): this {
    this.response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    return this;
  }

  refuses(status: number, code: string, message = 'no'): void {
    this.response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ error: { code, message } }));
  }

  /** An event as the server writes it: its data is the whole frame of the WebSocket. */
  says(event: string, frame: object, id?: number): void {
    this.response.write(`event:${event}\ndata:${JSON.stringify(frame)}\n${id ? `id:${id}\n` : ''}\n`);
  }

  value(channel: string, v: number, data: object = { v }): void {
    this.says('ventas', { type: 'ventas', data, channel, v }, v);
  }

  error(channel: string, code: string): void {
    this.says('error', { type: 'error', data: { code, message: code, channel } });
  }

  status(data: object, channel?: string): void {
    this.says('status', { type: 'status', ...(channel && { channel }), data });
  }

  restarts(): void {
    this.response.end('retry:3000\n:restarting\n\n');
  }
}

export class EventServer {
  readonly requests: EventRequest[] = [];
  /** What answers a request at once; without it, the test does. */
  onRequest: ((request: EventRequest) => void) | undefined;
  readonly #server = createServer((request, response) => {
    const made = new EventRequest(request, response);
    this.requests.push(made);
    this.onRequest?.(made);
  });

  async start(): Promise<this> {
    this.#server.on('upgrade', (_, socket) => socket.destroy());
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  /** The address of the socket, which this server has not. */
  get url(): string {
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}/live/ws`;
  }

  /** The request with that number, from 1 on, once it has come. */
  async request(number: number): Promise<EventRequest> {
    await until(`request ${number} comes`, () => this.requests.length >= number);
    return this.requests[number - 1]!;
  }

  end(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
