-- The foreign keys of relations. A partition has copies of its parent's; the copies that a table has for the partitions of a table that it
-- refers to are left out. The search path is pg_catalog.
SELECT c.conrelid, c.confrelid, c.conkey::int4[], c.confkey::int4[],
  c.confdeltype IN ('c', 'n', 'd') OR c.confupdtype IN ('c', 'n', 'd')
FROM pg_constraint c LEFT JOIN pg_constraint p ON p.oid = c.conparentid
WHERE c.contype = 'f' AND c.conrelid = ANY ($1) AND p.conrelid IS DISTINCT FROM c.conrelid
ORDER BY c.conrelid, c.conkey, c.confrelid, c.oid
