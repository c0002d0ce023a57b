import { VERSION } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import { LatidoTestingController, provideLatidoTesting } from '@latido/angular/testing';

import { App } from './app';

describe(`an application of Angular ${VERSION.full}`, () => {
  it('shows what comes', async () => {
    TestBed.configureTestingModule({ providers: [provideLatidoTesting()] });
    const fixture = TestBed.createComponent(App);
    const server = TestBed.inject(LatidoTestingController);
    const page = fixture.nativeElement as HTMLElement;
    await fixture.whenStable();
    expect(page.querySelector('button')?.textContent).toBe('connecting');
    server.pushEstadisticas('1', { citas_hoy: 7 });
    await fixture.whenStable();
    expect([page.querySelector('b')?.textContent, page.querySelector('button')?.textContent]).toEqual(['7', 'open']);
    const caja = 'ventas:1/3?desde=2026-11-01';
    server.push(caja, { total: 5 });
    server.unavailable(caja);
    await fixture.whenStable();
    expect([page.querySelector('i')?.textContent, page.querySelector('i')?.className]).toEqual(['5', 'old']);
    fixture.componentInstance.negocio.set('2');
    await fixture.whenStable();
    expect([page.querySelector('b'), server.watched]).toEqual([null, ['estadisticas:2', 'ventas:2/3?desde=2026-11-01']]);
  });
});
