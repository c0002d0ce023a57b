-- $1 holds the clients that somebody watches, $2 the current day of each.
SELECT u.id, s.*
FROM unnest($1::uuid[], $2::date[]) AS u (id, hoy)
CROSS JOIN LATERAL (
  SELECT count(*) FILTER (WHERE c.fecha >= u.hoy AND c.estado = 'pendiente') AS pendientes,
         count(*)                                                            AS total
  FROM citas c
  WHERE c.cliente_id = u.id
) s
