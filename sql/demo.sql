-- Demo data for sql/schema.sql: four businesses, their people, a month of history and a day that has begun. Safe to run again: history
-- is written once, and today's citas only if the business has none today.
--
-- Today is taken in the zone `latido.time_zone`, if the session has set it, else where the businesses are.

BEGIN;

INSERT INTO usuarios (id, nombre, email, rol) VALUES
    ('2d440648-fd21-49e2-ab5c-7232725e1b54', 'Administración',  'admin@demo.invalid',    'admin_sistema'),
    ('56ea4edc-9a96-49e0-873d-67f18a8d6b37', 'Lucía Andrade',   'lucia@demo.invalid',    'negocio'),
    ('63a69bf8-2d59-471c-9e2a-48df88e9601b', 'Mateo Cedeño',    'mateo@demo.invalid',    'negocio'),
    ('c9cfce9f-ec5b-4538-af19-bb5e2248e40e', 'Ana Zambrano',    'ana@demo.invalid',      'cliente'),
    ('6c59af7f-369e-468c-9f30-518e8812beb9', 'Diego Montalvo',  'diego@demo.invalid',    'cliente'),
    ('0b8f6c0e-7a43-4c38-9d51-6f1f3f6f0c21', 'Valentina Rivas', 'valentina@demo.invalid','cliente'),
    ('f3f3c7de-2f0b-4a0e-8f57-9b1c2f1f7a60', 'Carlos Villacís', 'carlos@demo.invalid',   'cliente')
ON CONFLICT DO NOTHING;

INSERT INTO negocios (id, admin_negocio_id, nombre) VALUES
    ('a4b1c7d2-53e8-4f0a-9c16-2e7d8b90f3a1', '56ea4edc-9a96-49e0-873d-67f18a8d6b37', 'Peluquería Los Ceibos'),
    ('d90e5f13-6b2c-4d7e-8a41-c35f7e12b684', '56ea4edc-9a96-49e0-873d-67f18a8d6b37', 'Clínica Dental Sonrisas'),
    ('7c36a8e4-19fd-4b52-b0c7-84d1f6e39a25', '63a69bf8-2d59-471c-9e2a-48df88e9601b', 'Taller Hermanos Vera'),
    ('e85d20b7-f4a9-4c13-9e68-15b7c04a2d9f', '63a69bf8-2d59-471c-9e2a-48df88e9601b', 'Spa Luna de Mompiche')
ON CONFLICT DO NOTHING;

WITH
    hoy AS (
        SELECT (now() AT TIME ZONE coalesce(nullif(current_setting('latido.time_zone', true), ''), 'America/Guayaquil'))::date AS dia
    ),
    -- How busy each business is on a day, and whether it needs that day.
    dias AS (
        SELECT n.id AS negocio_id, hoy.dia - atras AS dia, atras, n.por_dia
        FROM hoy,
            (VALUES
                ('a4b1c7d2-53e8-4f0a-9c16-2e7d8b90f3a1'::uuid, 9),
                ('d90e5f13-6b2c-4d7e-8a41-c35f7e12b684'::uuid, 6),
                ('7c36a8e4-19fd-4b52-b0c7-84d1f6e39a25'::uuid, 4),
                ('e85d20b7-f4a9-4c13-9e68-15b7c04a2d9f'::uuid, 7)
            ) AS n (id, por_dia),
            generate_series(0, 30) AS atras
        WHERE NOT EXISTS (
            SELECT FROM citas c
            WHERE c.negocio_id = n.id AND (atras > 0 OR c.fecha = hoy.dia)
        )
    ),
    clientes AS (
        SELECT array_agg(id ORDER BY id) AS ids FROM usuarios WHERE rol = 'cliente' AND email LIKE '%@demo.invalid'
    )
INSERT INTO citas (cliente_id, negocio_id, fecha, hora_inicio, hora_fin, estado, creado_en)
SELECT
    ids[1 + floor(random() * cardinality(ids))::int],
    negocio_id,
    dia,
    hora,
    hora + interval '30 minutes',
    -- The past is settled; of today, a part.
    (CASE
        WHEN suerte < 0.12 THEN 'cancelada'
        WHEN atras > 0 OR suerte < 0.45 THEN 'atendida'
        ELSE 'pendiente'
    END)::estado_cita,
    dia + hora - interval '2 days'
FROM dias, clientes,
    LATERAL (
        SELECT time '08:00' + interval '30 minutes' * floor(random() * 20) AS hora, random() AS suerte
        FROM generate_series(1, por_dia + (atras * 7 + por_dia) % 4) AS numero
        WHERE atras IS NOT NULL
    ) AS una;

COMMIT;
