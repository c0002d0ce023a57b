-- What sql/estadisticas.sql says, without counting closed days again: their sum, what changed in them since, and the live days. It needs
-- sql/history/install.sql, and the index (negocio_id, fecha, estado). One statement, so one snapshot: exact at every moment.

-- Never executed, since nothing reads it: it gives $1 the type of the column, be it uuid, bigint or text.
WITH clave AS (SELECT FROM citas WHERE negocio_id = ANY ($1))

SELECT u.negocio_id, s.*
FROM (SELECT k.negocio_id, k.hoy, (SELECT live_from FROM latido_history.cut) AS abierto
      FROM unnest($1, $2::date[]) AS k (negocio_id, hoy) OFFSET 0) AS u
CROSS JOIN LATERAL (
  SELECT abiertas.hoy                                                           AS citas_hoy,
         abiertas.total + sin_fecha.total + cerradas.total                      AS total_citas,
         abiertas.completadas + sin_fecha.completadas + cerradas.completadas    AS citas_completadas,
         abiertas.canceladas + sin_fecha.canceladas + cerradas.canceladas       AS citas_canceladas
  FROM (
    -- Today may be a closed day, where the cut is late or a time zone far west.
    SELECT count(*) FILTER (WHERE c.fecha = u.hoy)                                      AS hoy,
           count(*) FILTER (WHERE c.fecha >= u.abierto)                                 AS total,
           count(*) FILTER (WHERE c.fecha >= u.abierto AND c.estado = 'atendida')       AS completadas,
           count(*) FILTER (WHERE c.fecha >= u.abierto AND c.estado = 'cancelada')      AS canceladas
    FROM citas c
    WHERE c.negocio_id = u.negocio_id AND c.fecha >= least(u.abierto, u.hoy)
  ) AS abiertas, (
    SELECT count(*)                                          AS total,
           count(*) FILTER (WHERE c.estado = 'atendida')     AS completadas,
           count(*) FILTER (WHERE c.estado = 'cancelada')    AS canceladas
    FROM citas c
    WHERE c.negocio_id = u.negocio_id AND c.fecha IS NULL
  ) AS sin_fecha, (
    SELECT coalesce(sum(p.total), 0)::bigint          AS total,
           coalesce(sum(p.completadas), 0)::bigint    AS completadas,
           coalesce(sum(p.canceladas), 0)::bigint     AS canceladas
    FROM (SELECT z.total, z.completadas, z.canceladas FROM latido_history.closed z WHERE z.negocio_id = u.negocio_id
          UNION ALL
          SELECT d.total, d.completadas, d.canceladas FROM latido_history.deltas d
          WHERE d.negocio_id = u.negocio_id AND d.fecha < u.abierto) AS p
  ) AS cerradas
) s
