// env: PORT, RATE (broadcasts a second and channel), CH (channels), SECRET (HS256), PAYLOAD with @T@ for the stamp and two @N@ for the turn.
// Publishes once anything is written to its standard input.
const jwt = require('jsonwebtoken');
const port = +process.env.PORT, rate = +process.env.RATE, channels = +process.env.CH;
const [before, between, beyond, after] = process.env.PAYLOAD.split(/@T@|@N@/);
const body = (i) => before + process.hrtime.bigint() + between + (100000 + i) + beyond + (100000 + i) + after;
function allowed(token) {
  try { jwt.verify(token || '', process.env.SECRET, { algorithms: ['HS256'] }); return true; } catch { return false; }
}
// publish(channel, text): the channels take turns; catches up at most 200 ms
function ticker(publish) {
  process.stdin.once('data', () => {
    const per = 1000 / (rate * channels);
    let next = performance.now() + per, i = 0;
    (function tick() {
      const now = performance.now();
      let k = 0;
      if (now - next > 200) next = now;
      while (next <= now && k++ < 64) { publish(i % channels, body(i)); i++; next += per; }
      const wait = next - performance.now();
      wait > 0 ? setTimeout(tick, Math.ceil(wait)) : setImmediate(tick);
    })();
  });
}
module.exports = { port, channels, allowed, ticker };
