-- The columns of a table, in order: name, SQL type, SQL of the collation if it is not the type's own, whether an array of it is no array of
-- arrays, and whether values that its equality takes for one may have several texts, or there is no equality at all.
WITH RECURSIVE base (id, parent, type, depth) AS (
  SELECT t.oid, t.typbasetype, t.oid, 0 FROM pg_catalog.pg_type t
   WHERE t.oid IN (SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1)
  UNION ALL
  SELECT b.id, t.typbasetype, t.oid, b.depth + 1 FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.parent
), images (id, is_image) AS (
  -- Support function 4 of a B-tree tells whether equal values have the same bytes. Enums share that of anyenum; varchar has that of text.
  SELECT b.id, EXISTS (
           SELECT FROM pg_catalog.pg_opclass o
             JOIN pg_catalog.pg_amproc p ON p.amprocfamily = o.opcfamily AND p.amprocnum = 4 AND p.amproclefttype = o.opcintype
            WHERE o.opcmethod = (SELECT am.oid FROM pg_catalog.pg_am am WHERE am.amname = 'btree') AND o.opcdefault
              AND o.opcintype = CASE WHEN t.typtype = 'e' THEN 'pg_catalog.anyenum'::pg_catalog.regtype
                                     WHEN t.oid = 'pg_catalog.varchar'::pg_catalog.regtype THEN 'pg_catalog.text'::pg_catalog.regtype
                                     ELSE t.oid END)
    FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.type
   WHERE b.parent = 0
)
SELECT a.attname::text, pg_catalog.format_type(a.atttypid, CASE WHEN f.as_text THEN -1 END), f.collation_name,
       t.typcategory <> 'A' AND t.typarray <> 0, f.as_text
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN images i ON i.id = t.oid
  LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
  LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = c.collnamespace
  CROSS JOIN LATERAL (SELECT CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation
                                  THEN pg_catalog.format('%I.%I', cn.nspname, c.collname) END) AS own (name)
  CROSS JOIN LATERAL (SELECT own.name, NOT i.is_image OR (own.name IS NULL AND NOT coalesce(c.collisdeterministic, true))) AS f (collation_name, as_text)
 WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum
