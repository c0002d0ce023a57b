/** A bare WebSocket whose messages are waited for one by one, none lost in between. */

import WebSocket from 'ws';

export class Wire {
  #messages = [];
  #waiting = [];
  #socket;
  closed;

  constructor(url, options = {}) {
    this.#socket = new WebSocket(url, options);
    this.#socket.binaryType = 'nodebuffer';
    this.#socket.on('error', () => {});
    this.#socket.on('message', (data, binary) => {
      const message = binary ? data : data.toString();
      const waiting = this.#waiting.shift();
      if (waiting) waiting(message);
      else this.#messages.push(message);
    });
    this.opened = new Promise((done) => this.#socket.once('open', done));
    this.closed = new Promise((done) => this.#socket.once('close', (code) => done(code)));
  }

  /** The answer's status where there was no 101. */
  static refusal(url, options = {}) {
    return new Promise((done, fail) => {
      const socket = new WebSocket(url, options);
      socket.once('open', () => fail(new Error('it was let in')));
      socket.once('error', () => {});
      socket.once('unexpected-response', (_, response) => {
        let text = '';
        response.on('data', (piece) => (text += piece));
        response.on('end', () => done({ status: response.statusCode, text }));
      });
    });
  }

  async next() {
    const ready = this.#messages.shift();
    return ready ?? new Promise((done) => this.#waiting.push(done));
  }

  /** The next that is no ping. */
  async said() {
    for (;;) {
      const message = await this.next();
      if (message !== '2') return message;
      this.send('3');
    }
  }

  send(message) {
    this.#socket.send(message);
  }

  close() {
    this.#socket.close();
  }

  kill() {
    this.#socket.terminate();
  }
}
