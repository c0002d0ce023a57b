// @ts-check
/** The texts used only on the page of `latido try`. */

import { addTexts } from './i18n.js';

addTexts({
  live: ['Lee cada {every}', 'Reads every {every}'],
  try_second: ['segundo', 'second'],
  try_waiting: ['Esperando el primer dato', 'Waiting for the first row'],
  try_idle: ['Falta elegir qué mostrar', 'Choose what to show'],
  try_lead: ['{file} se lee cada {every} mientras esta página está abierta. Con latido install, cada cambio llega en el momento.', '{file} is read every {every} while this page is open. With latido install, every change arrives at once.'],
  try_choice: ['Qué mostrar', 'What to show'],
  try_show: ['Mostrar', 'Show'],
  try_examples: ['Por ejemplo:', 'For example:'],
  try_no_row: ['La consulta no devuelve ninguna fila.', 'The query returns no row.'],
  try_changed: ['Último cambio {ago}', 'Last change {ago}'],
  try_reads: ['Lo que lee', 'What it reads'],
  try_table: ['Tabla', 'Table'],
  try_columns: ['Columnas', 'Columns'],
  try_unseen: ['Lo que no se ve', 'What it cannot see'],
  try_next: ['Lo que sigue', 'Next'],
  try_next_help: ['Estas órdenes instalan los disparadores y sirven la consulta a cualquier aplicación:', 'These commands install the triggers and serve the query to any application:'],
  try_footer: ['Solo lectura: esta página no escribe nada en la base.', 'Read only: this page writes nothing to the database.'],
});
