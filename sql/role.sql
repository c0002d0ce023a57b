-- The role that `latido serve` connects as: it may read the columns that the built-in stream and authorize.sql name, if the database has
-- these tables, and write to no table.
-- Listening, notifying and the advisory locks of the interest gate need no grant. Run it once as the owner of the tables, who is also the
-- one to run `latido install` (triggers are the tables' business, not this role's):
--
--   psql "$OWNERS_URL" -f sql/role.sql        then  \password latido
--
-- Streams of your own and the apps need more: `latido grants --role latido --apply`, as the same owner and with the server's settings, gives
-- all that is needed; without --apply it prints it. Running either again changes nothing.
--
-- What every role of a PostgreSQL server may do by default, this one may do too, with its password and outside of the server's read-only
-- sessions: notify, take advisory locks, make temporary tables and large objects (disk space), and call functions that PUBLIC may call.
-- To take the two of them that cost disk space away from every role that has no grant of its own (only if nothing else needs them):
--
--   REVOKE TEMPORARY ON DATABASE … FROM PUBLIC;                                                     as the owner of the database
--   REVOKE EXECUTE ON FUNCTION lo_creat(int), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC;     as a superuser
--
-- Functions, operators and tables of PostgreSQL are named with their schema, so that none in another one is taken instead.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) 'latido') THEN
    CREATE ROLE latido LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
  END IF;
  EXECUTE pg_catalog.format('GRANT CONNECT ON DATABASE %I TO latido', pg_catalog.current_database());
END $$;
GRANT USAGE ON SCHEMA public TO latido;
-- Before PostgreSQL 15 whoever could connect could make tables here.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
-- What the built-in stream reads, as far as the database has it.
DO $$
BEGIN
  IF pg_catalog.to_regclass('citas') IS NOT NULL THEN
    GRANT SELECT (negocio_id, fecha, estado) ON citas TO latido;
  END IF;
  IF pg_catalog.to_regclass('negocios') IS NOT NULL THEN
    GRANT SELECT (id, admin_negocio_id) ON negocios TO latido;
  END IF;
  IF pg_catalog.to_regclass('usuarios') IS NOT NULL THEN
    GRANT SELECT (id, rol) ON usuarios TO latido;
  END IF;
END $$;
