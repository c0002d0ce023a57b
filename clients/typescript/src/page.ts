/**
 * Follows the life of the page, until the answer is called. Where there is no page, nothing happens.
 *
 * @param hurry something changed for the better: try now, or find out whether the connection still lives
 * @param leave the network is gone; or the page goes away, perhaps to come back from the browser's memory, where no socket may be kept
 */
export function followPage(hurry: () => void, leave: () => void): () => void {
  const end = new AbortController();
  const heard = ({ type }: Event) => {
    if (type === 'offline' || type === 'pagehide') leave();
    else if (type === 'online' || !document.hidden) hurry();
  };
  // No `pageshow`: it comes with the first load too, and a page that comes back from memory becomes visible besides.
  for (const name of ['online', 'offline', 'pagehide', 'visibilitychange']) {
    globalThis.addEventListener?.(name, heard, end);
  }
  return () => end.abort();
}
