-- The table and all below it; foreign tables cannot carry these triggers.
WITH RECURSIVE tree (oid, depth) AS (
  SELECT $1::oid, 0
  UNION
  SELECT i.inhrelid, depth + 1 FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid
)
SELECT n.nspname::text, c.relname::text
FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
GROUP BY 1, 2 ORDER BY min(depth), 1, 2
