-- The tables with a foreign table below them, among those above a table, itself, and all below these.
WITH RECURSIVE above (oid) AS (
  SELECT $1::pg_catalog.oid
  UNION
  SELECT i.inhparent FROM above JOIN pg_catalog.pg_inherits i ON i.inhrelid OPERATOR(pg_catalog.=) above.oid
), family (oid) AS (
  SELECT above.oid FROM above
  UNION
  SELECT i.inhrelid FROM family JOIN pg_catalog.pg_inherits i ON i.inhparent OPERATOR(pg_catalog.=) family.oid
), above_foreign (oid) AS (
  SELECT i.inhparent
  FROM family
  JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) family.oid AND c.relkind OPERATOR(pg_catalog.=) 'f'
  JOIN pg_catalog.pg_inherits i ON i.inhrelid OPERATOR(pg_catalog.=) c.oid
  UNION
  SELECT i.inhparent FROM above_foreign JOIN pg_catalog.pg_inherits i ON i.inhrelid OPERATOR(pg_catalog.=) above_foreign.oid
)
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
FROM above_foreign
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) above_foreign.oid
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
ORDER BY 1, 2
