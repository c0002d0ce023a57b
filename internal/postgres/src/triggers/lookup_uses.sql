-- The beginning of queries about a lookup: everything that it uses, also through views and through functions whose body is parsed. A row of
-- `uses` is an object as pg_depend names it: the lookup, a function, an operator, or the rule of a view.
WITH RECURSIVE uses (class, id) AS (
  SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass::oid, p.oid FROM pg_catalog.pg_proc p
   WHERE p.proname = 'latido_lookup' AND p.pronamespace = pg_catalog.pg_my_temp_schema()
  UNION
  SELECT CASE WHEN w.oid IS NULL THEN d.refclassid ELSE 'pg_catalog.pg_rewrite'::pg_catalog.regclass::oid END, coalesce(w.oid, d.refobjid)
    FROM uses u
    JOIN pg_catalog.pg_depend d ON d.classid = u.class AND d.objid = u.id
    LEFT JOIN pg_catalog.pg_class v ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND v.oid = d.refobjid AND v.relkind = 'v'
    LEFT JOIN pg_catalog.pg_rewrite w ON w.ev_class = v.oid
   WHERE v.oid IS NOT NULL
      OR d.refclassid = ANY (ARRAY['pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass]::oid[])
)
