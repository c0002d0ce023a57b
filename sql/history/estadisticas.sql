-- What sql/estadisticas.sql says, without counting closed days again: their sum, what changed in them since, and the live days. It needs
-- sql/history/install.sql, and the index (negocio_id, fecha, estado). One statement, so one snapshot: exact at every moment.

-- Never executed, since nothing reads it: it gives $1 the type of the column, be it uuid, bigint or text.
WITH clave AS (SELECT FROM citas WHERE negocio_id OPERATOR(pg_catalog.=) ANY ($1))

SELECT u.negocio_id, s.*
FROM (SELECT k.negocio_id, k.hoy, (SELECT live_from FROM latido_history.cut) AS abierto
      FROM unnest($1, $2::pg_catalog.date[]) AS k (negocio_id, hoy) OFFSET 0) AS u
CROSS JOIN LATERAL (
  SELECT abiertas.hoy AS citas_hoy,
         abiertas.total OPERATOR(pg_catalog.+) sin_fecha.total OPERATOR(pg_catalog.+) cerradas.total AS total_citas,
         abiertas.completadas OPERATOR(pg_catalog.+) sin_fecha.completadas OPERATOR(pg_catalog.+) cerradas.completadas AS citas_completadas,
         abiertas.canceladas OPERATOR(pg_catalog.+) sin_fecha.canceladas OPERATOR(pg_catalog.+) cerradas.canceladas AS citas_canceladas
  FROM (
    -- Today may be a closed day, where the cut is late or a time zone far west.
    SELECT pg_catalog.count(*) FILTER (WHERE c.fecha OPERATOR(pg_catalog.=) u.hoy) AS hoy,
           pg_catalog.count(*) FILTER (WHERE c.fecha OPERATOR(pg_catalog.>=) u.abierto) AS total,
           pg_catalog.count(*) FILTER (WHERE c.fecha OPERATOR(pg_catalog.>=) u.abierto AND c.estado OPERATOR(pg_catalog.=) 'atendida') AS completadas,
           pg_catalog.count(*) FILTER (WHERE c.fecha OPERATOR(pg_catalog.>=) u.abierto AND c.estado OPERATOR(pg_catalog.=) 'cancelada') AS canceladas
    FROM citas c
    WHERE c.negocio_id OPERATOR(pg_catalog.=) u.negocio_id AND c.fecha OPERATOR(pg_catalog.>=) least(u.abierto, u.hoy)
  ) AS abiertas, (
    SELECT pg_catalog.count(*) AS total,
           pg_catalog.count(*) FILTER (WHERE c.estado OPERATOR(pg_catalog.=) 'atendida') AS completadas,
           pg_catalog.count(*) FILTER (WHERE c.estado OPERATOR(pg_catalog.=) 'cancelada') AS canceladas
    FROM citas c
    WHERE c.negocio_id OPERATOR(pg_catalog.=) u.negocio_id AND c.fecha IS NULL
  ) AS sin_fecha, (
    SELECT coalesce(pg_catalog.sum(p.total), 0)::bigint AS total,
           coalesce(pg_catalog.sum(p.completadas), 0)::bigint AS completadas,
           coalesce(pg_catalog.sum(p.canceladas), 0)::bigint AS canceladas
    FROM (SELECT z.total, z.completadas, z.canceladas FROM latido_history.closed z WHERE z.negocio_id OPERATOR(pg_catalog.=) u.negocio_id
          UNION ALL
          SELECT d.total, d.completadas, d.canceladas FROM latido_history.deltas d
          WHERE d.negocio_id OPERATOR(pg_catalog.=) u.negocio_id AND d.fecha OPERATOR(pg_catalog.<) u.abierto) AS p
  ) AS cerradas
) s
