-- The statistics of businesses: $1 their ids, $2 today at each of them, $3 the day after (the server knows their time zones).
-- One row for every id, also for one without citas: zeros.

-- Never executed, since nothing reads it: it gives each parameter the type of its column. $1 may be uuid, bigint or text. $2 and $3 may be
-- date; timestamp, which is the business's own clock; or timestamptz, the instants at which its day begins and ends.
WITH tipos AS (SELECT FROM citas WHERE negocio_id = ANY ($1) AND fecha = ANY ($2) AND fecha = ANY ($3))

SELECT u.negocio_id, s.*
FROM unnest($1, $2, $3) AS u (negocio_id, hoy, manana)
CROSS JOIN LATERAL (
  SELECT count(*) FILTER (WHERE c.fecha >= u.hoy AND c.fecha < u.manana) AS citas_hoy,
         count(*)                                          AS total_citas,
         count(*) FILTER (WHERE c.estado = 'atendida')     AS citas_completadas,
         count(*) FILTER (WHERE c.estado = 'cancelada')    AS citas_canceladas
  FROM citas c
  WHERE c.negocio_id = u.negocio_id
) s
