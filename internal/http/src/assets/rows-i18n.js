// @ts-check
/** The texts of channels of any stream. */

import { addTexts } from './i18n.js';

addTexts({
  rows_title: ['Tus datos en vivo', 'Your data, live'],
  rows_lead: ['Cada valor cambia en el momento en que la base de datos confirma el cambio.', 'Every value changes the moment the database commits the change.'],
  channels: ['Canal', 'Channel'],
  channels_help: ['La consulta y su clave: {example}. Varios, separados por comas.', 'The stream and its key: {example}. Several, separated by commas.'],
  channels_served: ['Este servidor tiene: {names}.', 'This server has: {names}.'],
  channels_too: ['También un canal de: {names}.', 'Also a channel of: {names}.'],
  channel_word: ['CANAL', 'CHANNEL'],
  how_more_channels: ['Para seguir un canal en la terminal, y para revisar la instalación:', 'To follow a channel in the terminal, and to examine the installation:'],
  choose_again: ['Cambiar', 'Change'],
  row_empty: ['La consulta no devuelve ninguna fila para esta clave.', 'The query returns no row for this key.'],
  row_waiting: ['Esperando la primera fila', 'Waiting for the first row'],
  row_forbidden: ['Este token no puede leer este canal.', 'This token may not read this channel.'],
  row_invalid_key: ['Este canal no es válido: {message}', 'This channel is not valid: {message}'],
  row_unknown_channel: ['Este canal no existe. El servidor tiene: {expected}', 'This channel does not exist. The server has: {expected}'],
});
