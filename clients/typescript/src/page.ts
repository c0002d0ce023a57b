/**
 * Follows the life of the page, until the answer is called. Where there is no page, nothing happens.
 *
 * @param hurry something changed for the better: try now, or find out whether the connection still lives
 * @param offline the network is gone
 * @param suspend the page goes away, perhaps to come back from the browser's memory, where no socket may be kept
 */
export function followPage(hurry: () => void, offline: () => void, suspend: () => void): () => void {
  const end = new AbortController();
  const heard = ({ type, persisted }: Event & { persisted?: boolean }) => {
    if (type === 'offline') offline();
    else if (type === 'pagehide') suspend();
    // `pageshow` comes with the first load too, and visibility in both directions.
    else if (type === 'online' || (persisted !== false && !document.hidden)) hurry();
  };
  for (const name of ['online', 'offline', 'pagehide', 'pageshow', 'visibilitychange']) {
    globalThis.addEventListener?.(name, heard, end);
  }
  return () => end.abort();
}
