export { LatidoError } from './error.js';
export type { ErrorCode } from './error.js';
export { Latido } from './latido.js';
export type {
  Clock,
  Estadisticas,
  LatidoOptions,
  Observer,
  State,
  Status,
  Token,
  TokenRequest,
  WebSocketConstructor,
  WebSocketLike,
} from './types.js';
