-- The role, its attributes, and three lists: the tables that it owns, the tables that it may write besides those in $1, and the schemas in
-- which it may create objects. Then what every role may create by default: temporary tables and large objects.
WITH ours AS (
    SELECT c.oid, c.relowner, c.oid::pg_catalog.regclass::text AS name,
      '"' || pg_catalog.replace(n.nspname, '"', '""') || '"."' || pg_catalog.replace(c.relname, '"', '""') || '"' AS path FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema')
  SELECT r.rolname::text, r.rolsuper,
    pg_catalog.array_remove(ARRAY[CASE WHEN r.rolcreaterole THEN 'create roles' END, CASE WHEN r.rolcreatedb THEN 'create databases' END,
      CASE WHEN r.rolreplication THEN 'replicate' END, CASE WHEN r.rolbypassrls THEN 'bypass row security' END], NULL),
    ARRAY(SELECT name FROM ours WHERE pg_catalog.pg_has_role(relowner, 'USAGE') ORDER BY name),
    ARRAY(SELECT name FROM ours WHERE path <> ALL ($1::text[]) AND (pg_catalog.has_table_privilege(oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
      OR pg_catalog.has_any_column_privilege(oid, 'INSERT, UPDATE')) ORDER BY name),
    ARRAY(SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema'
      AND pg_catalog.has_schema_privilege(oid, 'CREATE') ORDER BY nspname),
    pg_catalog.array_remove(ARRAY[CASE WHEN pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY') THEN 'temporary tables' END,
      CASE WHEN pg_catalog.has_function_privilege('pg_catalog.lo_create(oid)', 'EXECUTE') THEN 'large objects' END], NULL)
  FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
