-- A domain counts as what it is made of. Since 18 there are virtual generated columns, which a trigger sees as NULL.
SELECT a.attname::pg_catalog.text,
  CASE WHEN a.attgenerated OPERATOR(pg_catalog.=) 'v' THEN 'a virtual generated column, which is NULL in triggers'
       ELSE coalesce(b.typname, t.typname)::pg_catalog.text END,
  a.attnum
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) a.atttypid
LEFT JOIN pg_catalog.pg_type b ON b.oid OPERATOR(pg_catalog.=) t.typbasetype
WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
ORDER BY a.attnum
