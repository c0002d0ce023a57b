-- The table and all below it; foreign tables cannot carry these triggers.
WITH RECURSIVE tree (oid, depth) AS (
  SELECT $1::pg_catalog.oid, 0
  UNION
  SELECT i.inhrelid, tree.depth OPERATOR(pg_catalog.+) 1
  FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent OPERATOR(pg_catalog.=) tree.oid
)
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
FROM tree
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) tree.oid
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog."char"[])
GROUP BY 1, 2 ORDER BY pg_catalog.min(tree.depth), 1, 2
