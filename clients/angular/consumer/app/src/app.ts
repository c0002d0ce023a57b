import { Component, signal } from '@angular/core';
import { channel, injectEstadisticas, injectLatido, injectLatidoConnection } from '@latido/angular';

/** What the README shows, as somebody would write it who installed the package. */
@Component({
  selector: 'app-root',
  template: `
    @if (stats.hasValue()) {
      <b>{{ stats.value().citas_hoy }}</b>
    }
    @if (caja.hasValue()) {
      <i [class.old]="caja.isStale()">{{ caja.value().total }}</i>
    }
    <button (click)="connection.reconnect()">{{ connection.state() }}</button>
  `,
})
export class App {
  readonly negocio = signal('1');
  readonly stats = injectEstadisticas(this.negocio);
  readonly caja = injectLatido<{ total: number }>(() => channel('ventas', [this.negocio(), 3], { desde: '2026-11-01' }));
  readonly connection = injectLatidoConnection();
}
