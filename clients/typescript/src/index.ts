export { LatidoError } from './error.js';
export type { ErrorCode } from './error.js';
export { Latido } from './latido.js';
export type {
  ChannelData,
  ChannelHistory,
  ChannelName,
  ChannelOf,
  Clock,
  Estadisticas,
  Last,
  LatidoOptions,
  Listener,
  Observer,
  State,
  Status,
  Token,
  TokenRequest,
  Watch,
  WebSocketConstructor,
  WebSocketLike,
} from './types.js';
