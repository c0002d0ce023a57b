-- The columns of a table, in order: name, SQL type, SQL of the collation if it is not the type's own, and whether an array of it is no array of
-- arrays.
SELECT a.attname::text, pg_catalog.format_type(a.atttypid, NULL),
       CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation
            THEN pg_catalog.format('%I.%I', cn.nspname, c.collname) END,
       t.typcategory <> 'A' AND t.typarray <> 0
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
  LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = c.collnamespace
 WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum
