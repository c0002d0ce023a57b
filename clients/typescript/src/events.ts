/** One Server-Sent Event. */
export interface ServerSentEvent {
  event: string;
  /** The lines of its data. None: it only carried another field. */
  data: string[];
  /** The server asks to wait so long before the next request, in ms. */
  retry?: string;
}

/** Takes a stream of events apart, in whatever pieces it comes (HTML standard, section 9.2.6): returns those that a piece completes. */
export function eventParser(): (piece: string) => ServerSentEvent[] {
  let rest = '';
  let next: ServerSentEvent = { event: '', data: [] };
  return (piece) => {
    const complete: ServerSentEvent[] = [];
    // A carriage return at the end may be half of a line's end.
    const lines = (rest + piece).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop()!;
    for (const line of lines) {
      // The dot would stop at U+2028, which JSON may hold.
      const [, field, value] = /^([^:]*):? ?([^]*)/.exec(line)!;
      if (!line) {
        complete.push(next);
        next = { event: '', data: [] };
      } else if (field === 'data') next.data.push(value!);
      else if (field === 'event' || field === 'retry') next[field] = value!;
    }
    return complete;
  };
}
