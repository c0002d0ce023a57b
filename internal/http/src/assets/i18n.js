// @ts-check
/** The page's texts in both languages. */

/** @typedef {'es'|'en'} Language */

/** Spanish, English. @type {Record<string, [string, string]>} */
const TEXTS = {
  title: ['Citas en vivo', 'Live appointments'],
  lead: ['Cada número cambia en el momento en que la base de datos confirma el cambio.', 'Every number changes the moment the database commits the change.'],
  all_today: ['Citas hoy, en total', 'Citas today, in all'],
  changes: ['Cambios recibidos', 'Changes received'],
  citas_hoy: ['Citas hoy', 'Citas today'],
  total_citas: ['En total', 'All time'],
  citas_completadas: ['Completadas', 'Completed'],
  citas_canceladas: ['Canceladas', 'Cancelled'],
  now: ['ahora', 'now'],
  chart: ['Citas hoy en el gráfico: de {from} a {to}', 'Citas today in the chart: from {from} to {to}'],
  chart_empty: ['Citas hoy: todavía sin datos', 'Citas today: no data yet'],
  updated: ['Actualizado {ago}', 'Updated {ago}'],
  waiting: ['Esperando el primer dato', 'Waiting for the first number'],
  just_now: ['ahora mismo', 'just now'],
  book: ['Reservar una cita ahora', 'Book a cita now'],
  booking: ['Reservando…', 'Booking…'],
  booked: ['Reservada', 'Booked'],
  book_failed: ['No se pudo reservar. Prueba otra vez en un momento.', 'Could not book. Try again in a moment.'],
  connecting: ['Conectando…', 'Connecting…'],
  live: ['En vivo', 'Live'],
  stale: ['Sin actualizar desde {at}', 'Not updated since {at}'],
  reconnecting: ['Reconectando…', 'Reconnecting…'],
  offline: ['Sin conexión a internet', 'No internet connection'],
  refused: ['Desconectado', 'Disconnected'],
  setup: ['Falta un token', 'A token is needed'],
  entry_title: ['Conectar con un token', 'Connect with a token'],
  token: ['Token (JWT)', 'Token (JWT)'],
  token_help: ['Se queda en la memoria de esta página: no se guarda ni aparece en la dirección.', 'It stays in the memory of this page: never stored, never in the address.'],
  ids: ['Identificador del negocio', 'Business id'],
  ids_help: ['Varios, separados por comas.', 'Several, separated by commas.'],
  connect: ['Conectar', 'Connect'],
  how_title: ['¿De dónde sale el token?', 'Where does the token come from?'],
  how_token: ['Tu API lo firma con el mismo JWT_SECRET. Para probar, esta orden da uno:', 'Your API signs it with the same JWT_SECRET. To try, this command gives one:'],
  how_more: ['Para seguir un negocio en la terminal, y para revisar la instalación:', 'To follow a business in the terminal, and to examine the installation:'],
  how_profile: ['¿Solo quieres mirar? Este perfil trae cuatro negocios y reserva una cita de vez en cuando:', 'Only want to look? This profile brings four businesses and books a cita now and then:'],
  how_demo: ['¿Solo quieres mirar? La demostración trae su base de datos y sus datos:', 'Only want to look? The demo brings its own database and data:'],
  reason_token: ['El servidor no acepta este token: es inválido o ya venció.', 'The server does not accept this token: it is invalid or has expired.'],
  reason_forbidden: ['El servidor cerró la conexión: este token no tiene permiso.', 'The server closed the connection: this token has no permission.'],
  forbidden: ['Este token no puede leer este negocio.', 'This token may not read this business.'],
  invalid_key: ['Este identificador no es válido.', 'This id is not valid.'],
  unavailable: ['El servidor no puede responder ahora; se intentará de nuevo.', 'The server cannot answer now; it will be tried again.'],
  server: ['Servidor', 'Server'],
  health: ['salud', 'health'],
  ready: ['preparado', 'ready'],
  metrics: ['métricas', 'metrics'],
  uptime: ['Encendido hace', 'Up for'],
  database: ['Base de datos', 'Database'],
  listener: ['Avisos de la base', "The database's notifications"],
  streams: ['Estadísticas', 'Statistics'],
  state_ok: ['responde', 'answers'],
  state_bad: ['no responde', 'does not answer'],
  state_ready: ['listas', 'ready'],
  state_waiting: ['esperando a la base', 'waiting for the database'],
  listening: ['llegan', 'arriving'],
  connecting_listener: ['conectando', 'connecting'],
  deaf: ['no llegan', 'not arriving'],
  asleep: ['en reposo: nadie mira', 'asleep: nobody watches'],
  to_dashboard: ['Panel de operación', 'Operations page'],
  operations: ['operación', 'operations'],
  other_language: ['English', 'Español'],
};

const STORAGE_KEY = 'latido.language';

/** @type {Language} */
let current = initial();

/** Adds the texts of another page. @param {Record<string, [string, string]>} texts */
export const addTexts = (texts) => void Object.assign(TEXTS, texts);

/** @returns {Language} the language chosen before, else the browser's, else Spanish */
function initial() {
  let chosen = null;
  try { chosen = localStorage.getItem(STORAGE_KEY); } catch { /* storage may be forbidden */ }
  if (chosen === 'es' || chosen === 'en') return chosen;
  return navigator.language.toLowerCase().startsWith('en') ? 'en' : 'es';
}

/** @returns {Language} */
export const language = () => current;

/** @returns {Language} */
export const otherLanguage = () => (current === 'es' ? 'en' : 'es');

/** Changes the language, and stores the choice if the browser allows it. */
export function switchLanguage() {
  current = otherLanguage();
  try { localStorage.setItem(STORAGE_KEY, current); } catch { /* the choice then lasts as long as the page */ }
}

/**
 * @param {string} key
 * @param {Record<string, string>} [values] the replacements of `{name}` in the text
 */
export function translate(key, values = {}) {
  const text = TEXTS[key]?.[current === 'es' ? 0 : 1] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
}

/** Returns whether there is a text with that key. @param {string} key */
export const hasText = (key) => key in TEXTS;

/** @param {number} value */
export const number = (value) => new Intl.NumberFormat(current === 'es' ? 'es-EC' : 'en').format(value);

/** @param {number} ms the instant whose time of day is returned, in Unix milliseconds */
export const timeOfDay = (ms) => new Intl.DateTimeFormat(current, { timeStyle: 'short' }).format(ms);

/** @param {number} ms the elapsed time */
export function ago(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 2) return translate('just_now');
  const format = new Intl.RelativeTimeFormat(current, { style: 'short' });
  if (seconds < 60) return format.format(-seconds, 'second');
  if (seconds < 3600) return format.format(-Math.floor(seconds / 60), 'minute');
  return format.format(-Math.floor(seconds / 3600), 'hour');
}

/** @param {number} bytes */
export function size(bytes) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log10(bytes) / 3));
  return `${shortNumber(bytes / 1000 ** power)} ${units[power]}`;
}

/** Formats a number with about three digits. @param {number} value */
export function shortNumber(value) {
  const digits = value >= 100 || Number.isInteger(value) ? 0 : value >= 10 ? 1 : 2;
  return new Intl.NumberFormat(current === 'es' ? 'es-EC' : 'en', { maximumFractionDigits: digits, notation: value >= 100_000 ? 'compact' : 'standard' }).format(value);
}

/** @param {number} seconds the duration, formatted in its largest two units */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return s < 600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** @param {number} ms Unix milliseconds, to the second */
export const clockTime = (ms) => new Intl.DateTimeFormat(current, { timeStyle: 'medium', hourCycle: 'h23' }).format(ms);

/** Writes the text of every `data-text` element below `root`. @param {ParentNode} root */
export function translatePage(root) {
  for (const element of root.querySelectorAll('[data-text]')) {
    element.textContent = translate(element.getAttribute('data-text') ?? '');
  }
  for (const element of root.querySelectorAll('[data-placeholder]')) {
    element.setAttribute('placeholder', translate(element.getAttribute('data-placeholder') ?? ''));
  }
}
