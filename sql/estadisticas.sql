-- The statistics of businesses: $1 their ids, $2 today at each of them (the server knows their time zones).
-- One row for every id, also for one without citas: zeros. Functions, operators and types are those of pg_catalog (unnest with several
-- arguments always is), so that none in another schema of the search path is taken instead.

-- Never executed, since nothing reads it: it gives $1 the type of the column, be it uuid, bigint or text.
WITH clave AS (SELECT FROM citas WHERE negocio_id OPERATOR(pg_catalog.=) ANY ($1))

SELECT u.negocio_id, s.*
FROM unnest($1, $2::pg_catalog.date[]) AS u (negocio_id, hoy)
CROSS JOIN LATERAL (
  SELECT pg_catalog.count(*) FILTER (WHERE c.fecha OPERATOR(pg_catalog.=) u.hoy)           AS citas_hoy,
         pg_catalog.count(*)                                                               AS total_citas,
         pg_catalog.count(*) FILTER (WHERE c.estado OPERATOR(pg_catalog.=) 'atendida')     AS citas_completadas,
         pg_catalog.count(*) FILTER (WHERE c.estado OPERATOR(pg_catalog.=) 'cancelada')    AS citas_canceladas
  FROM citas c
  WHERE c.negocio_id OPERATOR(pg_catalog.=) u.negocio_id
) s
