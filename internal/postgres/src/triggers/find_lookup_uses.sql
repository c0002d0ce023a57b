-- Follows lookup_uses.sql. What the lookup depends on: kind, schema and name of a table or the text of a function, and the columns that are read,
-- in the order of the table.
, found (class, id, part) AS (
  SELECT DISTINCT d.refclassid, d.refobjid, d.refobjsubid
    FROM uses u JOIN pg_catalog.pg_depend d ON d.classid = u.class AND d.objid = u.id
)
SELECT c.relkind::text, c.oid, n.nspname::text, c.relname::text,
       pg_catalog.array_remove(pg_catalog.array_agg(a.attname::text ORDER BY a.attnum), NULL)
  FROM found f
  JOIN pg_catalog.pg_class c ON f.class = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = f.id
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = f.part AND f.part > 0
 WHERE c.relkind <> 'v'
 GROUP BY 1, 2, 3, 4
UNION ALL
SELECT 'function', p.oid, '', p.oid::pg_catalog.regprocedure::text, '{}'
  FROM found f
  JOIN pg_catalog.pg_proc p ON p.oid = CASE WHEN f.class = 'pg_catalog.pg_proc'::pg_catalog.regclass THEN f.id
                                            WHEN f.class = 'pg_catalog.pg_operator'::pg_catalog.regclass
                                              THEN (SELECT o.oprcode FROM pg_catalog.pg_operator o WHERE o.oid = f.id) END
 WHERE p.pronamespace <> 'pg_catalog'::pg_catalog.regnamespace
 ORDER BY 1, 3, 4
