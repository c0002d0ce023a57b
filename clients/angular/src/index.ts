export { injectLatidoConnection } from './connection';
export type { LatidoConnection } from './connection';
export { injectEstadisticas } from './estadisticas';
export { LATIDO, provideLatido } from './provide';
export type { LatidoClient, LatidoConfig } from './provide';
export { injectLatido } from './watch';
export type { LatidoInjectOptions, LatidoRef, LatidoStatus, Maybe } from './watch';
export { LatidoError } from 'latido';
export type { ErrorCode, Estadisticas, Observer, State, Status, Token, TokenRequest } from 'latido';
