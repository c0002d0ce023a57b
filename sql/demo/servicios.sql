-- A business between two days: its citas and its income, in all and by service.
SELECT u.negocio_id, u.desde, u.hasta, u.hoy, s.*
FROM unnest($1::uuid[], $2::date[], $3::date[], $4::date[])
  AS u (negocio_id, hoy, desde, hasta)
CROSS JOIN LATERAL (
  SELECT coalesce(sum(p.citas), 0) AS citas,
         coalesce(sum(p.citas_hoy), 0) AS citas_hoy,
         coalesce(sum(p.importe), 0) AS importe,
         coalesce(json_agg(p ORDER BY p.nombre), '[]') AS servicios
  FROM (
    SELECT v.nombre,
           count(c.id) AS citas,
           count(c.id) FILTER (WHERE c.fecha = u.hoy) AS citas_hoy,
           coalesce(sum(v.precio)
             FILTER (WHERE c.estado = 'atendida'), 0) AS importe
    FROM servicios v
    LEFT JOIN citas c
      ON c.servicio_id = v.id AND c.fecha BETWEEN u.desde AND u.hasta
    WHERE v.negocio_id = u.negocio_id
    GROUP BY v.id) p) s
