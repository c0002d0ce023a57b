/** A network that can be made bad. */

import { createServer, connect, type AddressInfo, type NetConnectOpts, type Server, type Socket } from 'node:net';

/** Passes bytes on to `target`, until told otherwise. */
export class Proxy {
  /** `hole`: takes connections and bytes, and gives nothing back. `refuse`: takes nothing. */
  mode: 'pass' | 'hole' | 'refuse' = 'pass';
  accepted = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(target: NetConnectOpts) {
    this.#server = createServer((near) => {
      if (this.mode === 'refuse') return void near.destroy();
      this.accepted++;
      const far = connect(target);
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(from);
        from.on('data', (bytes) => this.mode === 'pass' && to.write(bytes));
        from.on('error', () => {});
        from.on('close', () => {
          this.#sockets.delete(from);
          to.destroy();
        });
      }
    });
  }

  static async to(target: NetConnectOpts): Promise<Proxy> {
    const proxy = new Proxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}/ws`;
  }

  /** Cuts every connection that there is. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  end(): void {
    this.cut();
    this.#server.close();
  }
}
