-- A table and those that inherit from it, but no partitions: schema and name. And whether it has partitions.
WITH RECURSIVE tree (oid) AS (
  SELECT $1::pg_catalog.oid
  UNION
  SELECT i.inhrelid
    FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND NOT c.relispartition
)
SELECT n.nspname::text, c.relname::text, c.relkind = 'p'
  FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = ANY ('{r,p}') ORDER BY c.oid <> $1, 1, 2
