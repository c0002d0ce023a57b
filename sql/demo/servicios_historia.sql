-- The citas of a business on each day between two days.
SELECT u.negocio_id, u.desde, u.hasta, c.fecha AS dia, count(*) AS citas
FROM unnest($1::uuid[], $2::date[], $3::date[], $4::date[])
  AS u (negocio_id, hoy, desde, hasta)
JOIN servicios v ON v.negocio_id = u.negocio_id
JOIN citas c
  ON c.servicio_id = v.id AND c.fecha BETWEEN u.desde AND u.hasta
GROUP BY u.negocio_id, u.desde, u.hasta, c.fecha
ORDER BY c.fecha
