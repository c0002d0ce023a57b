-- Follows lookup_uses.sql. Whether the absence of a row can give a row of `changed` a key: whether the lookup, or a view or function that it uses,
-- has an outer join, a sub-query in an expression, an aggregate or window, EXCEPT, DISTINCT ON, or a limit.
, trees (tree) AS (
  SELECT p.prosqlbody::text FROM uses u JOIN pg_catalog.pg_proc p ON u.class = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = u.id
  UNION ALL
  SELECT w.ev_action::text FROM uses u JOIN pg_catalog.pg_rewrite w ON u.class = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND w.oid = u.id
)
SELECT coalesce(bool_or(tree ~ ':jointype [1-9]|\{SUBLINK |:hasAggs true|:hasWindowFuncs true|:hasDistinctOn true|\{SETOPERATIONSTMT :op 3|:limit(Offset|Count) \{'),
                false)
  FROM trees
