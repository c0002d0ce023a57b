// Hands requests and sockets on to the server behind, bytes as they are.

import http from 'node:http';
import https from 'node:https';

const isHere = ({ hostname }) => hostname === 'localhost' || hostname === '[::1]' || /^127\./.test(hostname);

function ask(target, request, headers) {
  const options = {
    host: target.hostname.replace(/^\[|\]$/g, ''),
    port: target.port || undefined,
    method: request.method,
    path: target.pathname.replace(/\/$/, '') + request.url,
    // The demo answers to a page of its own machine and origin, so it must see the name by which the page was reached.
    headers: isHere(target) ? headers : { ...headers, host: target.host },
    agent: false,
  };
  return (target.protocol === 'https:' ? https : http).request(options);
}

/** A request, and its answer as it comes. */
export function forward(target, request, response) {
  const asked = ask(target, request, request.headers);
  asked.on('response', (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  asked.on('error', () => {
    if (response.headersSent) return response.destroy();
    response.writeHead(502, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }).end('{"error":"no server"}');
  });
  response.on('close', () => asked.destroy());
  request.pipe(asked);
}

/** A WebSocket: once it stands, both sides are one. */
export function upgrade(target, request, socket, head) {
  const asked = ask(target, request, request.headers);
  const refuse = (status) => socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  socket.on('error', () => asked.destroy());
  asked.on('error', () => refuse('502 Bad Gateway'));
  asked.on('response', (answer) => {
    answer.resume();
    refuse(`${answer.statusCode} ${answer.statusMessage}`);
  });
  asked.on('upgrade', (answer, behind, first) => {
    const lines = [`HTTP/1.1 101 ${answer.statusMessage}`];
    for (let at = 0; at < answer.rawHeaders.length; at += 2) lines.push(`${answer.rawHeaders[at]}: ${answer.rawHeaders[at + 1]}`);
    socket.write(`${lines.join('\r\n')}\r\n\r\n`);
    if (first.length) socket.write(first);
    if (head.length) behind.write(head);
    join(socket, behind);
  });
  asked.end();
}

/** Both ways, and neither outlives the other. */
function join(one, other) {
  for (const [from, to] of [[one, other], [other, one]]) {
    from.setNoDelay(true);
    from.setTimeout(0);
    from.on('error', () => to.destroy());
    from.on('close', () => to.destroy());
    from.pipe(to);
  }
}
