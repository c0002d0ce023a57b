-- The key's column of a table: its type, how that is written, and whether equal texts may differ in it. As the name is written first.
SELECT coalesce(b.typname, t.typname)::pg_catalog.text, pg_catalog.format_type(a.atttypid, a.atttypmod),
       EXISTS (SELECT FROM pg_catalog.pg_collation o WHERE o.oid OPERATOR(pg_catalog.=) a.attcollation AND NOT o.collisdeterministic),
       a.attname::pg_catalog.text
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) a.atttypid
LEFT JOIN pg_catalog.pg_type b ON b.oid OPERATOR(pg_catalog.=) t.typbasetype
WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
  AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY (ARRAY[$2, pg_catalog.lower($2)])
ORDER BY a.attname::pg_catalog.text OPERATOR(pg_catalog.=) $2 DESC
LIMIT 1
