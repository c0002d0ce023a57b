// Written by `latido types --typescript`. Run it again when a stream has changed.

/** What the channel `ventas_por-dia:<tienda_id>/<caja-1>` sends. */
export interface VentasPorDia {
  tienda_id: string;
  "caja-1": string;
  /** Exact up to 15 digits. Select it as text if it may have more. NaN and infinities arrive as text. */
  total: number | null;
  /** NaN and infinities arrive as text. */
  margen: number | null;
  /** Exact up to 2⁵³. Select it as text if it may be larger. */
  "pedidos hoy": number | null;
  abierta: boolean | null;
  detalle: unknown;
  /** When it was read, Unix seconds. */
  timestamp: number;
}

/** A row of the history of `ventas_por-dia`. */
export interface VentasPorDiaHistory {
  dia: string | null;
}

/** What a subscriber of `ventas_por-dia` may choose beside the key. */
export type VentasPorDiaParams = {
  /** Expects a date such as 2026-11-30. */
  desde: Date | string;
  /** Expects abierto or *\/"; `abierto` if it is left out. */
  estado?: "abierto" | "*/\"";
};

/** What the channel `totales` sends. */
export interface Totales {
  n: number | null;
  /** When it was read, Unix seconds. */
  timestamp: number;
}

/** Every stream by its name, for `new Latido<Streams>(…)`. */
export interface Streams {
  "ventas_por-dia": { data: VentasPorDia; history: VentasPorDiaHistory; key: [tienda_id: number | bigint | string, caja_1: "a" | "b"]; params: VentasPorDiaParams };
  totales: { data: Totales; key: []; params: Record<string, never> };
}
