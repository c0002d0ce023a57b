import { assertInInjectionContext } from '@angular/core';
import type { Estadisticas } from 'latido';

import { injectLatido, type LatidoInjectOptions, type LatidoRef, type Maybe } from './watch';

/**
 * The statistics of a business, for as long as the injection context lives.
 *
 * @param negocioId its id, or a signal or function of it: another id is another business, and none is `idle`
 */
export function injectEstadisticas(
  negocioId: Maybe<string | number> | (() => Maybe<string | number>),
  options: LatidoInjectOptions = {},
): LatidoRef<Estadisticas | undefined> {
  if (!options.injector) assertInInjectionContext(injectEstadisticas);
  const channel = () => {
    const id = typeof negocioId === 'function' ? negocioId() : negocioId;
    return id === undefined || id === null || id === '' ? undefined : `estadisticas:${id}`;
  };
  return injectLatido<Estadisticas>(channel, options);
}
