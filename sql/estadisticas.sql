-- The statistics of businesses: $1 their ids, $2 today at each of them (the server knows their time zones).
-- One row for every id, also for one without citas: zeros.

-- Never executed, since nothing reads it: it gives $1 the type of the column, be it uuid, bigint or text.
WITH clave AS (SELECT FROM citas WHERE negocio_id = ANY ($1))

SELECT u.negocio_id, s.*
FROM unnest($1, $2::date[]) AS u (negocio_id, hoy)
CROSS JOIN LATERAL (
  SELECT count(*) FILTER (WHERE c.fecha = u.hoy)           AS citas_hoy,
         count(*)                                          AS total_citas,
         count(*) FILTER (WHERE c.estado = 'atendida')     AS citas_completadas,
         count(*) FILTER (WHERE c.estado = 'cancelada')    AS citas_canceladas
  FROM citas c
  WHERE c.negocio_id = u.negocio_id
) s
