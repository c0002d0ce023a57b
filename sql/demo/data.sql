-- The services of the demo's businesses, for the stream of servicios.sql. Runs after sql/demo.sql, and again at every start of `latido demo`.
--
-- Today is taken in the zone `latido.time_zone`, as in sql/demo.sql.

BEGIN;

CREATE TABLE IF NOT EXISTS servicios (
    id         uuid          PRIMARY KEY,
    negocio_id uuid          NOT NULL REFERENCES negocios (id) ON DELETE CASCADE,
    nombre     text          NOT NULL,
    precio     numeric(8, 2) NOT NULL
);
CREATE INDEX IF NOT EXISTS servicios_negocio ON servicios (negocio_id);
CREATE INDEX IF NOT EXISTS citas_servicio_fecha ON citas (servicio_id, fecha);

INSERT INTO servicios (id, negocio_id, nombre, precio) VALUES
    ('c963cfe0-afae-4a3b-b909-6a04e7d80068', 'a4b1c7d2-53e8-4f0a-9c16-2e7d8b90f3a1', 'Corte de cabello', 12.00),
    ('26b563b1-e794-4e14-a145-4c40c439f34a', 'a4b1c7d2-53e8-4f0a-9c16-2e7d8b90f3a1', 'Tinte completo', 38.50),
    ('d96e5adf-a2be-4e31-ac8b-e7d742840d2b', 'a4b1c7d2-53e8-4f0a-9c16-2e7d8b90f3a1', 'Peinado', 18.00),
    ('53d23c0b-df43-4fb2-99fc-fc64e7aa8576', 'a4b1c7d2-53e8-4f0a-9c16-2e7d8b90f3a1', 'Manicura', 9.50),
    ('06e82a01-2b5c-4cd1-a7ca-430e92ac3d42', 'd90e5f13-6b2c-4d7e-8a41-c35f7e12b684', 'Limpieza dental', 35.00),
    ('1333bc1c-fe6c-4b03-a820-212c69599354', 'd90e5f13-6b2c-4d7e-8a41-c35f7e12b684', 'Ortodoncia: control', 45.00),
    ('7972a36d-51b3-4a6c-a005-0ed31a6e72b9', 'd90e5f13-6b2c-4d7e-8a41-c35f7e12b684', 'Blanqueamiento', 120.00),
    ('6977a41b-730b-4d9c-94a6-7f00f335c357', 'd90e5f13-6b2c-4d7e-8a41-c35f7e12b684', 'Extracción', 60.00),
    ('a0187b4d-5120-4e8f-b327-26d0356a4152', '7c36a8e4-19fd-4b52-b0c7-84d1f6e39a25', 'Cambio de aceite', 42.00),
    ('542861cd-55e7-467e-ae6a-c4a9e89c5bc7', '7c36a8e4-19fd-4b52-b0c7-84d1f6e39a25', 'Alineación y balanceo', 38.00),
    ('8491cabe-a0af-4356-97bc-c74d6d683cf8', '7c36a8e4-19fd-4b52-b0c7-84d1f6e39a25', 'Revisión de frenos', 25.50),
    ('67a9b05c-7dfb-47e8-9775-f593ce3ad2b2', 'e85d20b7-f4a9-4c13-9e68-15b7c04a2d9f', 'Masaje relajante', 40.00),
    ('3e1dcfb5-92bd-431c-b4d2-ea1614daf467', 'e85d20b7-f4a9-4c13-9e68-15b7c04a2d9f', 'Facial hidratante', 32.50),
    ('1570bc62-1832-49e2-b3aa-391808fc2081', 'e85d20b7-f4a9-4c13-9e68-15b7c04a2d9f', 'Circuito de aguas', 28.00),
    ('c3b1b366-b185-4ac8-80e0-529930b9f609', 'e85d20b7-f4a9-4c13-9e68-15b7c04a2d9f', 'Piedras calientes', 55.00)
ON CONFLICT DO NOTHING;

-- A demo that rested for some days gets citas of these days too, so that no chart has a gap.
WITH
    hoy AS (
        SELECT (now() AT TIME ZONE coalesce(nullif(current_setting('latido.time_zone', true), ''), 'America/Guayaquil'))::date AS dia
    ),
    vacios AS (
        SELECT n.negocio_id, hoy.dia - atras AS dia
        FROM hoy, (SELECT DISTINCT negocio_id FROM servicios) AS n, generate_series(1, 30) AS atras
        WHERE NOT EXISTS (SELECT FROM citas c WHERE c.negocio_id = n.negocio_id AND c.fecha = hoy.dia - atras)
    )
INSERT INTO citas (negocio_id, fecha, hora_inicio, hora_fin, estado, creado_en)
SELECT negocio_id, dia, hora, hora + interval '30 minutes', 'atendida', dia + hora - interval '2 days'
FROM vacios, LATERAL (SELECT time '08:00' + interval '30 minutes' * numero AS hora FROM generate_series(0, 4 + extract(day FROM dia)::int % 5) AS numero) AS una;

UPDATE citas c
SET servicio_id = (SELECT v.id FROM servicios v WHERE v.negocio_id = c.negocio_id ORDER BY md5(v.id::text || c.id::text) LIMIT 1)
WHERE c.servicio_id IS NULL AND c.negocio_id IN (SELECT negocio_id FROM servicios);

COMMIT;
