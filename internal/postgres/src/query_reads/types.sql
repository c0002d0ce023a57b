-- Types with what domains are made of, the elements of arrays, and the family of the default B-tree class, whose equality must be named `=`.
-- Classes of enums and arrays are those of the pseudo-types. The search path is pg_catalog.
WITH RECURSIVE d(oid, base) AS (
  SELECT t.oid, t.oid FROM pg_type t WHERE t.oid = ANY ($1)
  UNION ALL SELECT d.oid, t.typbasetype FROM d JOIN pg_type t ON t.oid = d.base WHERE t.typtype = 'd'),
t AS (
  SELECT d.oid, d.base, CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END AS element,
    CASE WHEN t.oid = 'varchar'::regtype THEN 'text'::regtype WHEN t.typtype = 'e' THEN 'anyenum'::regtype
         WHEN t.typcategory = 'A' THEN 'anyarray'::regtype ELSE t.oid END::oid AS class_type
  FROM d JOIN pg_type t ON t.oid = d.base WHERE t.typtype <> 'd')
SELECT t.oid, t.base, t.element, f.family, f.schema
FROM t LEFT JOIN LATERAL (
  SELECT k.opcfamily AS family, CASE WHEN n.nspname <> 'pg_catalog' THEN n.nspname::text END AS schema
  FROM pg_opclass k JOIN pg_am m ON m.oid = k.opcmethod
    JOIN pg_amop a ON a.amopfamily = k.opcfamily AND a.amopstrategy = 3 AND a.amoplefttype = k.opcintype AND a.amoprighttype = k.opcintype
    JOIN pg_operator o ON o.oid = a.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
  WHERE k.opcintype = t.class_type AND k.opcdefault AND m.amname = 'btree' AND o.oprname = '=' LIMIT 1) f ON true
