-- The statistics of businesses: $1 their ids, $2 today at each of them, $3 the day after (the server knows their time zones).
-- One row for every id, also for one without citas: zeros. Functions, operators and types are those of pg_catalog (unnest with several
-- arguments always is), so that none in another schema of the search path is taken instead.

-- Never executed, since nothing reads it: it gives each parameter the type of its column. $1 may be uuid, bigint or text. $2 and $3 may be
-- date; timestamp, which is the business's own clock; or timestamptz, the instants at which its day begins and ends.
WITH tipos AS (
  SELECT FROM citas
  WHERE negocio_id OPERATOR(pg_catalog.=) ANY ($1) AND fecha OPERATOR(pg_catalog.=) ANY ($2) AND fecha OPERATOR(pg_catalog.=) ANY ($3)
)

SELECT u.negocio_id, s.*
FROM unnest($1, $2, $3) AS u (negocio_id, hoy, manana)
CROSS JOIN LATERAL (
  SELECT pg_catalog.count(*) FILTER (WHERE c.fecha OPERATOR(pg_catalog.>=) u.hoy AND c.fecha OPERATOR(pg_catalog.<) u.manana) AS citas_hoy,
         pg_catalog.count(*)                                                               AS total_citas,
         pg_catalog.count(*) FILTER (WHERE c.estado OPERATOR(pg_catalog.=) 'atendida')     AS citas_completadas,
         pg_catalog.count(*) FILTER (WHERE c.estado OPERATOR(pg_catalog.=) 'cancelada')    AS citas_canceladas
  FROM citas c
  WHERE c.negocio_id OPERATOR(pg_catalog.=) u.negocio_id
) s
