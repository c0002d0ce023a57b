-- The tables that a table is a part of, as a partition or by INHERITS, with their columns: a statement that names one of them changes rows of
-- the table, and fires the statement triggers of the named one alone. And the columns that decide about the partition of a row; NULL for an
-- expression.
WITH RECURSIVE tree (oid, depth) AS (
  SELECT $1::pg_catalog.oid, 0
  UNION
  SELECT i.inhparent, tree.depth OPERATOR(pg_catalog.+) 1
  FROM tree JOIN pg_catalog.pg_inherits i ON i.inhrelid OPERATOR(pg_catalog.=) tree.oid
)
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
  ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a
         WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped),
  ARRAY(SELECT a.attname::pg_catalog.text
          FROM pg_catalog.pg_partitioned_table p CROSS JOIN LATERAL pg_catalog.unnest(p.partattrs::pg_catalog.int2[]) WITH ORDINALITY AS k (attnum, place)
          LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) p.partrelid AND a.attnum OPERATOR(pg_catalog.=) k.attnum
         WHERE p.partrelid OPERATOR(pg_catalog.=) c.oid ORDER BY k.place)
FROM tree
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) tree.oid
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.oid OPERATOR(pg_catalog.<>) $1 AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog."char"[])
GROUP BY c.oid, 1, 2 ORDER BY pg_catalog.min(tree.depth), 1, 2
