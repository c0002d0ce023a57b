// Before anything is painted, so that a page that was made dark does not flash white. A file and not inline: the policy allows no inline script.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem('latido.theme'); } catch { /* storage may be forbidden */ }
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
})();
