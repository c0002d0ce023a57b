-- A domain counts as what it is made of. Since 18 there are virtual generated columns, which a trigger sees as NULL.
SELECT a.attname::text,
  CASE WHEN a.attgenerated = 'v' THEN 'a virtual generated column, which is NULL in triggers' ELSE coalesce(b.typname, t.typname)::text END
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
