// @ts-check
/** The table of sessions, and the confirmation before one is closed. */

import { appendCell, setText, showEmptyText } from './dom.js';
import { KeyedRows } from './table.js';
import { ago, clockTime, duration, number, translate } from './i18n.js';

/** @typedef {{id: string, user: string, role: string | null, address: string | null, since: number, heard: number, behind: number | null, expires: number, dialect: string, transport: string, channels: string[], channel_count: number}} Client */

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

export class ClientsTable {
  #rows; #close;
  /** @type {any} */ #data;
  /** The client whose closing is being confirmed. @type {Client | undefined} */ #confirming;

  /** @param {{close: (client: Client, mayReconnect: boolean) => void}} options */
  constructor({ close }) {
    this.#close = close;
    this.#rows = new KeyedRows(/** @type {HTMLElement} */ (document.querySelector('#clients tbody')), 'tr', (row) => this.#createCells(row));
    const dialog = /** @type {HTMLDialogElement} */ (byId('end'));
    const closeHandler = (/** @type {boolean} */ mayReconnect) => () => {
      dialog.close();
      if (this.#confirming) this.#close(this.#confirming, mayReconnect);
    };
    byId('end-return').addEventListener('click', closeHandler(true));
    byId('end-stay').addEventListener('click', closeHandler(false));
    byId('end-cancel').addEventListener('click', () => dialog.close());
    dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  }

  /** @param {HTMLElement} row */
  #createCells(row) {
    const [user, address, since, heard, channels, transport, state, end] =
      ['user', 'address', 'since faint', 'heard faint', 'channels', 'transport faint', 'state', 'end'].map((name) => appendCell(row, name));
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
    setText(byId('clients-count'), translate(data.more ? 'clients_more' : 'clients_count', values));
    this.#rows.show(rows, (client) => client.id, (cells, /** @type {Client} */ client) => {
      setText(cells.name, client.user);
      cells.role.hidden = !client.role;
      setText(cells.role, client.role ?? '');
      setText(cells.address, client.address ?? '–');
      setText(cells.since, duration(now - client.since));
      cells.since.title = clockTime(client.since * 1000);
      setText(cells.heard, ago((now - client.heard) * 1000));
      const more = client.channel_count - client.channels.length;
      setText(cells.channels, client.channels.join(', ') + (more > 0 ? ` ${translate('more_channels', { count: number(more) })}` : '') || '–');
      setText(cells.transport, client.transport);
      setText(cells.state, client.behind == null ? translate('up_to_date') : translate('behind', { for: duration(now - client.behind) }));
      cells.state.className = client.behind == null ? 'state faint' : 'state behind';
      setText(cells.button, translate('end'));
      cells.button.setAttribute('aria-label', translate('end_of', { user: client.user }));
      cells.button.onclick = () => this.#confirm(client);
    });
    showEmptyText('#clients', rows.length);
  }

  translate() {
    if (this.#data) this.show(this.#data);
  }

  /** Removes a client that has disconnected. @param {string} id */
  remove(id) {
    this.#rows.remove(id);
  }

  /** @param {Client} client */
  #confirm(client) {
    this.#confirming = client;
    byId('end-lead').textContent = translate('end_lead', { user: client.user, address: client.address ?? '–' });
    /** @type {HTMLDialogElement} */ (byId('end')).showModal();
    byId('end-cancel').focus();
  }
}
