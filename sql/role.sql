-- The role that `latido serve` connects as: it may read the columns that the built-in stream and authorize.sql name, and nothing else.
-- Listening, notifying and the advisory locks of the interest gate need no grant. Run it once as the owner of the tables, who is also the
-- one to run `latido install` (triggers are the tables' business, not this role's):
--
--   psql "$OWNERS_URL" -f sql/role.sql        then  \password latido
--
-- Streams of your own: grant SELECT on the columns that their queries read. Running it again changes nothing.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'latido') THEN
    CREATE ROLE latido LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO latido', current_database());
END $$;
GRANT USAGE ON SCHEMA public TO latido;
-- Before PostgreSQL 15 whoever could connect could make tables here.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT SELECT (negocio_id, fecha, estado) ON citas TO latido;
GRANT SELECT (id, admin_negocio_id) ON negocios TO latido;
GRANT SELECT (id, rol) ON usuarios TO latido;
