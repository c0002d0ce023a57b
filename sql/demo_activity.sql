-- One change to the data of demo.sql: books a cita of today for one of its four businesses, or else completes or cancels one. Run again and
-- again by the profile `demo` of docker-compose.yml; `latido demo` has a writer of its own. No other business is touched.
--
-- Today is taken in the zone `latido.time_zone`, if the session has set it, else where the businesses are.

WITH
    hoy AS (
        SELECT (now() AT TIME ZONE coalesce(nullif(current_setting('latido.time_zone', true), ''), 'America/Guayaquil'))::date AS dia
    ),
    negocio AS MATERIALIZED (
        SELECT n.id, random() AS suerte
        FROM negocios n
        WHERE n.id IN (
            'a4b1c7d2-53e8-4f0a-9c16-2e7d8b90f3a1', 'd90e5f13-6b2c-4d7e-8a41-c35f7e12b684',
            '7c36a8e4-19fd-4b52-b0c7-84d1f6e39a25', 'e85d20b7-f4a9-4c13-9e68-15b7c04a2d9f'
        )
        ORDER BY random()
        LIMIT 1
    ),
    -- The earliest pending cita of today, in about half of the runs.
    pendiente AS MATERIALIZED (
        SELECT c.id, negocio.suerte
        FROM negocio, hoy, citas c
        WHERE negocio.suerte < 0.5 AND c.negocio_id = negocio.id AND c.fecha = hoy.dia AND c.estado = 'pendiente'
        ORDER BY c.hora_inicio, c.id
        LIMIT 1
        FOR UPDATE OF c SKIP LOCKED
    ),
    resuelta AS (
        UPDATE citas c
        SET estado = (CASE WHEN pendiente.suerte < 0.1 THEN 'cancelada' ELSE 'atendida' END)::estado_cita
        FROM pendiente
        WHERE c.id = pendiente.id
    )
INSERT INTO citas (cliente_id, negocio_id, fecha, hora_inicio, hora_fin)
SELECT
    (SELECT u.id FROM usuarios u WHERE u.rol = 'cliente' AND u.email LIKE '%@demo.invalid' ORDER BY random() LIMIT 1),
    negocio.id,
    hoy.dia,
    una.hora,
    una.hora + interval '30 minutes'
FROM negocio, hoy, LATERAL (SELECT time '08:00' + interval '30 minutes' * floor(random() * 20) AS hora WHERE negocio.id IS NOT NULL) AS una
WHERE NOT EXISTS (SELECT FROM pendiente);

-- Keeps the newest 400 of each business, so that the profile can run for weeks.
DELETE FROM citas
WHERE id IN (
    SELECT id
    FROM (
        SELECT c.id, row_number() OVER (PARTITION BY c.negocio_id ORDER BY c.fecha DESC, c.creado_en DESC, c.id) AS numero
        FROM citas c
        WHERE c.negocio_id IN (
            'a4b1c7d2-53e8-4f0a-9c16-2e7d8b90f3a1', 'd90e5f13-6b2c-4d7e-8a41-c35f7e12b684',
            '7c36a8e4-19fd-4b52-b0c7-84d1f6e39a25', 'e85d20b7-f4a9-4c13-9e68-15b7c04a2d9f'
        )
    ) AS numeradas
    WHERE numero > 400
);
