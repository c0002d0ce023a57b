import { EventStream } from './event_stream.js';
import type { WebSocketConstructor, WebSocketLike } from './types.js';

/** How long a WebSocket may take to open, in ms. */
const UPGRADE_MS = 5000;

/**
 * A WebSocket where one gets through, else an {@link EventStream}: `new Latido(url, { token, WebSocket: withFallback() })`. Every
 * attempt to connect begins with the WebSocket, and goes on with the stream if that is closed or silent before it has opened.
 *
 * @param Socket Default: the runtime's own; where there is none, it is the stream at once
 */
export function withFallback(Socket = globalThis.WebSocket as WebSocketConstructor | undefined): WebSocketConstructor {
  if (!Socket) return EventStream;
  const First = Socket;
  return class implements WebSocketLike {
    onopen: WebSocketLike['onopen'] = null;
    onmessage: WebSocketLike['onmessage'] = null;
    onclose: WebSocketLike['onclose'] = null;
    onerror: WebSocketLike['onerror'] = null;
    readonly send: (text: string) => void;
    readonly close: () => void;

    constructor(url: string, protocols: string[]) {
      let timer: any;
      let chosen: WebSocketLike;
      const choose = (next: WebSocketLike) => {
        chosen = next;
        next.onopen = (event) => {
          clearTimeout(timer);
          next.onclose = (event) => this.onclose?.(event);
          this.onopen?.(event);
        };
        next.onmessage = (event) => this.onmessage?.(event);
        // It stays: `ws` throws an error that nobody takes.
        next.onerror = () => {};
      };
      const giveUp = () => {
        const old = chosen;
        clearTimeout(timer);
        old.onopen = old.onclose = null;
        old.close();
        choose(new EventStream(url, protocols));
      };
      choose(new First(url, protocols));
      chosen!.onclose = giveUp;
      timer = setTimeout(giveUp, UPGRADE_MS);
      this.send = (text) => chosen.send(text);
      this.close = () => {
        clearTimeout(timer);
        chosen.onclose = null;
        chosen.close();
      };
    }
  };
}
