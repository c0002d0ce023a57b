-- The columns of a table: name, type, number, kind of keys, type as it is declared, and whether equal texts may differ in it. A domain counts
-- as what it is made of. Since 18 there are virtual generated columns, which a trigger sees as NULL. A numeric without a scale of its own, or
-- with one, has several texts for one number; its scale are the lowest 11 bits, with a sign.
WITH RECURSIVE made_of (attnum, type, typmod) AS (
  SELECT a.attnum, a.atttypid, a.atttypmod FROM pg_catalog.pg_attribute a
  WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
  UNION ALL
  SELECT m.attnum, d.typbasetype, greatest(m.typmod, d.typtypmod)
  FROM made_of m JOIN pg_catalog.pg_type d ON d.oid OPERATOR(pg_catalog.=) m.type AND d.typtype OPERATOR(pg_catalog.=) 'd'
)
SELECT a.attname::pg_catalog.text,
  CASE WHEN a.attgenerated OPERATOR(pg_catalog.=) 'v' THEN 'a virtual generated column, which is NULL in triggers'
       ELSE t.typname::pg_catalog.text END,
  a.attnum,
  CASE WHEN a.attgenerated OPERATOR(pg_catalog.=) 'v' THEN NULL
       WHEN t.typtype OPERATOR(pg_catalog.=) 'e' THEN 'enum'
       WHEN t.oid OPERATOR(pg_catalog.=) 'pg_catalog.numeric'::pg_catalog.regtype
            AND (m.typmod OPERATOR(pg_catalog.<) 4 OR (((m.typmod OPERATOR(pg_catalog.-) 4) OPERATOR(pg_catalog.&) 2047)
                 OPERATOR(pg_catalog.#) 1024) OPERATOR(pg_catalog.>) 1024) THEN 'fractional'
       WHEN n.nspname OPERATOR(pg_catalog.=) 'pg_catalog' OR t.typname OPERATOR(pg_catalog.=) 'citext' THEN t.typname::pg_catalog.text END,
  pg_catalog.format_type(a.atttypid, a.atttypmod),
  EXISTS (SELECT FROM pg_catalog.pg_collation o WHERE o.oid OPERATOR(pg_catalog.=) a.attcollation AND NOT o.collisdeterministic)
FROM made_of m
JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attnum OPERATOR(pg_catalog.=) m.attnum
JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) m.type AND t.typtype OPERATOR(pg_catalog.<>) 'd'
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
ORDER BY a.attnum
