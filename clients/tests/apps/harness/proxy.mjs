/** A reverse proxy that counts requests and spoils upgrades to a WebSocket in one way. */

import http from 'node:http';

/** What happens to a WebSocket behind its 101. */
export const FAULTS = {
  /** The connection is cut. */
  cut: (client, server) => {
    client.destroy();
    server.destroy();
  },
  /** Nothing of the client arrives. */
  'swallow the client': (client, server) => {
    client.resume();
    server.pipe(client);
  },
  /** Nothing of the server arrives. */
  'swallow the server': (client, server) => {
    client.pipe(server);
    server.resume();
  },
  /** Everything arrives late. */
  delay: (client, server) => {
    for (const [from, to] of [[client, server], [server, client]]) {
      from.on('data', (bytes) => setTimeout(() => to.writable && to.write(bytes), DELAY_MS));
      from.on('end', () => setTimeout(() => to.end(), DELAY_MS));
    }
  },
  /** Everything arrives. */
  nothing: (client, server) => {
    client.pipe(server);
    server.pipe(client);
  },
};

const DELAY_MS = 700;

export class Proxy {
  /** Requests, upgrades among them. */
  requests = 0;
  upgrades = 0;
  #server;

  /**
   * @param {number} port the server's
   * @param {keyof typeof FAULTS} fault
   */
  constructor(port, fault) {
    const target = (request) => ({
      host: '127.0.0.1',
      port,
      method: request.method,
      path: request.url,
      headers: request.headers,
    });
    this.#server = http.createServer((request, response) => {
      this.requests += 1;
      const onward = http.request(target(request), (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      // A client that goes takes its request with it, and a server its response.
      onward.on('error', () => response.destroy());
      response.on('close', () => onward.destroy());
      request.pipe(onward);
    });
    this.#server.on('upgrade', (request, client) => {
      this.requests += 1;
      this.upgrades += 1;
      const onward = http.request(target(request));
      onward.on('upgrade', (answer, server, head) => {
        const lines = Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}\r\n`);
        client.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('')}\r\n`);
        if (head.length > 0) server.unshift(head);
        for (const [one, other] of [[client, server], [server, client]]) {
          one.on('error', () => other.destroy());
          one.on('close', () => other.destroy());
        }
        FAULTS[fault](client, server);
      });
      onward.on('response', (answer) => client.end(`HTTP/1.1 ${answer.statusCode} Refused\r\nContent-Length: 0\r\n\r\n`));
      onward.on('error', () => client.destroy());
      client.on('error', () => onward.destroy());
      onward.end();
    });
  }

  /** Listens, and returns the port. */
  async listen() {
    await new Promise((done) => this.#server.listen(0, '127.0.0.1', done));
    return this.#server.address().port;
  }

  end() {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
