-- Whether the absence of a row can give a row of `changed` a key: whether the lookup, or a view or function that it uses, has an outer join, a
-- sub-query in an expression, an aggregate or window, EXCEPT, DISTINCT ON, or a limit.
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
), trees (tree) AS (
  SELECT p.prosqlbody::text FROM uses u JOIN pg_catalog.pg_proc p ON u.class = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = u.id
  UNION ALL
  SELECT w.ev_action::text FROM uses u JOIN pg_catalog.pg_rewrite w ON u.class = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND w.oid = u.id
)
SELECT coalesce(bool_or(tree ~ ':jointype [1-9]|\{SUBLINK |:hasAggs true|:hasWindowFuncs true|:hasDistinctOn true|\{SETOPERATIONSTMT :op 3|:limit(Offset|Count) \{'),
                false)
  FROM trees
