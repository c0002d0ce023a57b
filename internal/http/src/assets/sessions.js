// @ts-check
/** The table of sessions, and the confirmation before one is closed. */

import { cell, empty, write } from './board.js';
import { Rows } from './rows.js';
import { ago, clockTime, duration, number, say } from './words.js';

/** @typedef {{id: string, user: string, role: string | null, address: string | null, since: number, heard: number, behind: number | null, expires: number, dialect: string, transport: string, channels: string[], channel_count: number}} Client */

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

export class ClientsTable {
  #rows; #close;
  /** @type {any} */ #data;
  /** The client that the open confirmation is about. @type {Client | undefined} */ #asked;

  /** @param {{close: (client: Client, mayReturn: boolean) => void}} options */
  constructor({ close }) {
    this.#close = close;
    this.#rows = new Rows(/** @type {HTMLElement} */ (document.querySelector('#clients tbody')), 'tr', (row) => this.#make(row));
    const dialog = /** @type {HTMLDialogElement} */ (byId('end'));
    const answer = (/** @type {boolean} */ mayReturn) => () => {
      dialog.close();
      if (this.#asked) this.#close(this.#asked, mayReturn);
    };
    byId('end-return').addEventListener('click', answer(true));
    byId('end-stay').addEventListener('click', answer(false));
    byId('end-cancel').addEventListener('click', () => dialog.close());
    dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  }

  /** @param {HTMLElement} row */
  #make(row) {
    const [user, address, since, heard, channels, transport, state, end] =
      ['user', 'address', 'since faint', 'heard faint', 'channels', 'transport faint', 'state', 'end'].map((name) => cell(row, name));
    const [name, role, button] = [document.createElement('span'), document.createElement('span'), document.createElement('button')];
    role.className = 'role';
    button.className = 'row-end';
    button.type = 'button';
    user.append(name, role);
    end.append(button);
    address.classList.add('code', 'faint');
    channels.classList.add('code');
    return { root: row, name, role, address, since, heard, channels, transport, state, button };
  }

  /** @param {{total: number, more: boolean, rows: Client[]}} data */
  show(data) {
    this.#data = data;
    const now = Date.now() / 1000;
    const rows = [...data.rows].sort((a, b) => b.since - a.since || (a.id < b.id ? -1 : 1));
    const values = { shown: number(rows.length), total: number(data.total) };
    write(byId('clients-count'), say(data.more ? 'clients_more' : 'clients_count', values));
    this.#rows.show(rows, (client) => client.id, (cells, /** @type {Client} */ client) => {
      write(cells.name, client.user);
      cells.role.hidden = !client.role;
      write(cells.role, client.role ?? '');
      write(cells.address, client.address ?? '–');
      write(cells.since, duration(now - client.since));
      cells.since.title = clockTime(client.since * 1000);
      write(cells.heard, ago((now - client.heard) * 1000));
      const more = client.channel_count - client.channels.length;
      write(cells.channels, client.channels.join(', ') + (more > 0 ? ` ${say('more_channels', { count: number(more) })}` : '') || '–');
      write(cells.transport, client.transport);
      write(cells.state, client.behind == null ? say('up_to_date') : say('behind', { for: duration(now - client.behind) }));
      cells.state.className = client.behind == null ? 'state faint' : 'state behind';
      write(cells.button, say('end'));
      cells.button.setAttribute('aria-label', say('end_of', { user: client.user }));
      cells.button.onclick = () => this.#ask(client);
    });
    empty('#clients', rows.length);
  }

  translate() {
    if (this.#data) this.show(this.#data);
  }

  /** Removes a client that has disconnected. @param {string} id */
  forget(id) {
    this.#rows.forget(id);
  }

  /** @param {Client} client */
  #ask(client) {
    this.#asked = client;
    byId('end-lead').textContent = say('end_lead', { user: client.user, address: client.address ?? '–' });
    /** @type {HTMLDialogElement} */ (byId('end')).showModal();
    byId('end-cancel').focus();
  }
}
