// @ts-check
/** The texts of the demo's services, and the formats of days and money. */

import { addTexts, language } from './i18n.js';

addTexts({
  services_title: ['Citas por servicio', 'Citas by service'],
  services_lead: ['Una segunda consulta une dos tablas. Su historia llena el gráfico, y cada cambio mueve la barra de hoy.', 'A second query joins two tables. Its history fills the chart, and each change moves the bar of today.'],
  business: ['Negocio', 'Business'],
  from: ['Desde', 'From'],
  to: ['Hasta', 'To'],
  range_citas: ['Citas', 'Citas'],
  range_today: ['De ellas hoy', 'Of them today'],
  range_income: ['Ingresos', 'Income'],
  service: ['Servicio', 'Service'],
  range_missing: ['Elige una fecha completa.', 'Choose a complete date.'],
  range_future: ['Elige hoy o un día anterior.', 'Choose today or an earlier day.'],
  range_inverted: ['El primer día está después del último.', 'The first day is after the last one.'],
  range_long: ['Elige un año como máximo.', 'Choose at most one year.'],
  days_chart: ['Citas por día, del {from} al {to}. El máximo es {most}, el {peak}; el último día tiene {last}.', 'Citas by day, from {from} to {to}. The maximum is {most}, on {peak}; the last day has {last}.'],
  days_empty: ['Citas por día: ninguna entre el {from} y el {to}', 'Citas by day: none between {from} and {to}'],
  no_history: ['El gráfico no se puede leer ahora; se intentará de nuevo.', 'The chart cannot be read now; it will be tried again.'],
  show_queries: ['Ver las consultas', 'Show the queries'],
  query_of_numbers: ['Los números: una fila por negocio', 'The numbers: one row per business'],
  query_of_history: ['El gráfico: una fila por día', 'The chart: one row per day'],
});

/** @param {string} day `2026-11-30` @param {Intl.DateTimeFormatOptions} [options] */
export const dayText = (day, options = { day: 'numeric', month: 'short' }) =>
  new Intl.DateTimeFormat(language() === 'es' ? 'es-EC' : 'en', { ...options, timeZone: 'UTC' }).format(Date.parse(day));

/** @param {number} value in the currency of Ecuador */
export const money = (value) =>
  new Intl.NumberFormat(language() === 'es' ? 'es-EC' : 'en', { style: 'currency', currency: 'USD', currencyDisplay: 'narrowSymbol' }).format(value);
