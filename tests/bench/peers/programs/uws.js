// uWebSockets.js (native): topics, publish() done in C++. The upstream package is not on npm; @trufflesuite/uws-js-unofficial carries its
// binaries, and its ABI-115 one runs on Node 20 with Debian 12's glibc.
const { port, channels, allowed, ticker } = require('./common');
const uWS = require('@trufflesuite/uws-js-unofficial/dist/uws_linux_x64_115.node');
const app = uWS.App();
app.ws('/ws/:c', {
  compression: uWS.DISABLED, maxPayloadLength: 4096, idleTimeout: 60, sendPingsAutomatically: true,
  upgrade: (res, req, ctx) => {
    if (!allowed(req.getQuery('token'))) { res.writeStatus('401 Unauthorized').end(); return; }
    res.upgrade({ c: String((+req.getParameter(0) || 0) % channels) }, req.getHeader('sec-websocket-key'), req.getHeader('sec-websocket-protocol'), req.getHeader('sec-websocket-extensions'), ctx);
  },
  open: (ws) => { ws.subscribe(ws.getUserData().c); },
  message: () => {},
});
app.listen('127.0.0.1', port, (ok) => { if (!ok) process.exit(1); });
ticker((c, text) => app.publish(String(c), text, false, false));
