import { eventParser } from './events.js';
import type { ServerSentEvent } from './events.js';
import type { WebSocketLike } from './types.js';

/** How long changes of the channels are gathered before another request, in ms. */
const GATHER_MS = 50;
/** How long a stream may be silent, in ms. The server sends a comment after 15 s. */
const SILENCE_MS = 20_000;
/** How long a new stream has to repeat that the database is away, in ms. */
const REPEAT_MS = 1000;
/** How long before its end a token is renewed, in ms. */
const NOTICE_MS = 60_000;
/** The longest time that a timer of a browser can wait, in ms. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** What the server refuses by HTTP, as it closes a WebSocket. The rest is a lost connection. */
const CLOSE_CODES: Record<number, number> = { 401: 4401, 403: 4403, 414: 1009, 429: 4429, 431: 1009, 503: 1013 };
/** The errors that concern a channel and not the request. */
const CHANNEL_ERRORS = ['forbidden', 'unknown_channel', 'invalid_key', 'too_many_channels'];

/**
 * Server-Sent Events in the place of a WebSocket: `new Latido(url, { token, WebSocket: EventStream })`.
 *
 * `GET /events?channel=…&history=…` carries all channels over one response, those of `history` with their history first. Another set of channels, or another token, is another
 * request; the server begins each with the newest state, so that nothing is missed in between.
 */
export class EventStream implements WebSocketLike {
  onopen: WebSocketLike['onopen'] = null;
  onmessage: WebSocketLike['onmessage'] = null;
  onclose: WebSocketLike['onclose'] = null;
  onerror: WebSocketLike['onerror'] = null;
  /** Takes a message of the WebSocket's dialect. */
  readonly send: (text: string) => void;
  readonly close: () => void;

  /**
   * @param url the socket's address, or that of the events: the last part of its path becomes `events`
   * @param protocols `bearer` and the token, which becomes a header
   * @throws TypeError if that can't be a token
   */
  constructor(url: string, [, bearer]: string[]) {
    const address = new URL('events', url);
    address.protocol = address.protocol.replace('ws', 'http');
    /** Each with the name of its parameter: `history` if each request asks for its history too. */
    const channels = new Map<string, string>();
    let token = bearer!;
    let request: AbortController | undefined;
    let isAnswered = false;
    let heardAt = 0;
    /** The server said that the database is away. */
    let isStale = false;
    let gathering: any;
    let notice: any;
    let repeating: any;

    const headers = () => new Headers({ accept: 'text/event-stream', authorization: `Bearer ${token}` });
    headers();

    const say = (frame: object) => this.onmessage?.({ data: JSON.stringify(frame) });

    const stop = () => {
      for (const timer of [gathering, notice, repeating]) clearTimeout(timer);
      gathering = undefined;
      request?.abort();
      request = undefined;
      isAnswered = false;
    };

    const end = (code: number) => {
      stop();
      this.onclose?.({ code });
    };

    /** The server has accepted a channel, of which it has no value yet. */
    const confirm = (channel?: string) => say({ type: 'subscribed', data: { channel } });

    const onError = (data: string, { code, channel }: { code: string; channel?: string }) => {
      // That it can't be read now means that it may be, and that the server goes on trying.
      if (code === 'unavailable') confirm(channel);
      else channels.delete(channel!);
      this.onmessage?.({ data });
    };

    const onStatus = ({ channel, data }: { channel?: string; data: { stale: boolean } }) => {
      if (channel) return;
      clearTimeout(repeating);
      isStale = data.stale;
      // While the database is away nothing else may come of any of them.
      if (isStale) channels.forEach((_, channel) => confirm(channel));
    };

    const onEvent = ({ event, data: lines }: ServerSentEvent) => {
      const data = lines.join('\n');
      if (event === 'error') return onError(data, JSON.parse(data).data);
      if (event === 'status') onStatus(JSON.parse(data));
      this.onmessage?.({ data });
    };

    const onAnswer = () => {
      isAnswered = true;
      heardAt = Date.now();
      const left = expiresAt(token) - NOTICE_MS - heardAt;
      // A clock that is wrong gives no notice, rather than one after the other.
      if (left > 0 && left < LONGEST_TIMER_MS) notice = setTimeout(say, left, { type: 'token_expiring' });
      // That the database is back was perhaps said between the two streams.
      if (!isStale) return;
      repeating = setTimeout(() => {
        isStale = false;
        say({ type: 'status', data: { stale: false } });
      }, REPEAT_MS);
    };

    /** Every channel was refused, with the reason of the first; or there are more of them than one request may have; or it is the client. */
    const onRefused = async (response: Response, { signal }: AbortController) => {
      const { code, message } = (await response.json().catch(() => ({}))).error ?? {};
      if (signal.aborted) return;
      if (!CHANNEL_ERRORS.includes(code)) return end(CLOSE_CODES[response.status] ?? 1006);
      const all = [...channels.keys()];
      const channel = response.status === 400 && code === 'too_many_channels' ? all.at(-1)! : all[0]!;
      onError(JSON.stringify({ type: 'error', data: { code, message, channel } }), { code, channel });
      change();
    };

    const follow = async (body: ReadableStream<Uint8Array>, { signal }: AbortController) => {
      const parse = eventParser();
      const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
      let isRestarting = false;
      for (;;) {
        const { value, done } = await reader.read();
        if (signal.aborted) return;
        // The server ends a stream with its last channel; there is nothing to come back for.
        if (done) return channels.size ? end(isRestarting ? 1012 : 1006) : stop();
        heardAt = Date.now();
        for (const event of parse(value)) {
          isRestarting ||= event.retry !== undefined;
          if (event.data.length) onEvent(event);
          if (signal.aborted) return;
        }
      }
    };

    const open = async () => {
      stop();
      if (!channels.size) return;
      const own = (request = new AbortController());
      address.search = `${new URLSearchParams([...channels].map(([channel, name]) => [name, channel]))}`;
      try {
        const response = await fetch(address, { headers: headers(), signal: own.signal, cache: 'no-store' });
        if (own.signal.aborted) return;
        if (!response.ok) return await onRefused(response, own);
        onAnswer();
        await follow(response.body!, own);
      } catch {
        if (!own.signal.aborted) end(1006);
      }
    };

    const change = () => {
      gathering ??= setTimeout(open, isAnswered ? GATHER_MS : 0);
    };

    this.send = (text) => {
      const { type, data } = JSON.parse(text);
      if (type === 'ping') {
        // It can't be asked; but the server says at least that it is there.
        if (!request || (isAnswered && Date.now() - heardAt < SILENCE_MS)) say({ type: 'pong' });
      } else if (type === 'auth') {
        token = data.token;
        change();
      } else if (type === 'unsubscribe') {
        if (channels.delete(data.channel)) change();
      } else {
        channels.set(data.channel, data.history ? 'history' : 'channel');
        change();
      }
    };
    this.close = stop;
    // Nothing is asked for before there is a channel.
    queueMicrotask(() => this.onopen?.({}));
  }
}

/** When a JWT ends, in ms since 1970. Not a number: it does not say. */
function expiresAt(token: string): number {
  try {
    const claims = token.split('.')[1]!.replace(/-/g, '+').replace(/_/g, '/');
    return JSON.parse(atob(claims)).exp * 1000;
  } catch {
    return NaN;
  }
}
