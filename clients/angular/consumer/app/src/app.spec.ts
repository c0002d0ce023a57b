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
    fixture.componentInstance.negocio.set('2');
    await fixture.whenStable();
    expect([page.querySelector('b'), server.watched]).toEqual([null, ['estadisticas:2']]);
  });
});
