export { EventStream } from './event_stream.js';
export { withFallback } from './fallback.js';
