import { Component, signal } from '@angular/core';
import { injectEstadisticas, injectLatidoConnection } from '@latido/angular';

/** What the README shows, as somebody would write it who installed the package. */
@Component({
  selector: 'app-root',
  template: `
    @if (stats.hasValue()) {
      <b>{{ stats.value().citas_hoy }}</b>
    }
    <button (click)="connection.reconnect()">{{ connection.state() }}</button>
  `,
})
export class App {
  readonly negocio = signal('1');
  readonly stats = injectEstadisticas(this.negocio);
  readonly connection = injectLatidoConnection();
}
