-- The role, its attributes, and three lists: the tables that it owns, the tables that it may write besides those in $1, and the schemas in
-- which it may create objects. Bypassing row-level security is no excess in a database that has it.
-- Then what every role may create by default: temporary tables and large objects.
WITH schemas AS (
    SELECT n.oid, n.nspname::pg_catalog.text AS name FROM pg_catalog.pg_namespace n
     WHERE NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_') AND n.nspname OPERATOR(pg_catalog.<>) 'information_schema'),
  ours AS (
    SELECT c.oid, c.relowner, c.relrowsecurity AS has_row_security, c.oid::pg_catalog.regclass::pg_catalog.text AS name,
           pg_catalog.concat('"', pg_catalog.replace(n.name, '"', '""'), '"."', pg_catalog.replace(c.relname::pg_catalog.text, '"', '""'), '"') AS path
      FROM pg_catalog.pg_class c JOIN schemas n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
     WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog."char"[]))
SELECT r.rolname::pg_catalog.text, r.rolsuper,
  pg_catalog.array_remove(ARRAY[CASE WHEN r.rolcreaterole THEN 'create roles' END, CASE WHEN r.rolcreatedb THEN 'create databases' END,
    CASE WHEN r.rolreplication THEN 'replicate' END,
    CASE WHEN r.rolbypassrls AND NOT EXISTS (SELECT FROM ours WHERE has_row_security) THEN 'bypass row security' END], NULL),
  ARRAY(SELECT name FROM ours WHERE pg_catalog.pg_has_role(relowner, 'USAGE') ORDER BY name),
  ARRAY(SELECT name FROM ours WHERE path OPERATOR(pg_catalog.<>) ALL ($1)
    AND (pg_catalog.has_table_privilege(oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
         OR pg_catalog.has_any_column_privilege(oid, 'INSERT, UPDATE')) ORDER BY name),
  ARRAY(SELECT name FROM schemas WHERE pg_catalog.has_schema_privilege(oid, 'CREATE') ORDER BY name),
  pg_catalog.array_remove(ARRAY[
    CASE WHEN pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY') THEN 'temporary tables' END,
    CASE WHEN pg_catalog.has_function_privilege('pg_catalog.lo_create(pg_catalog.oid)', 'EXECUTE') THEN 'large objects' END], NULL)
FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) current_user
