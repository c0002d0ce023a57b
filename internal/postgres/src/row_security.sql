-- Row-level security of a table: whether it has any, whether it concerns this role, and whether the role's policies show every row.
WITH policies AS (
  SELECT p.polpermissive AS permissive, pg_catalog.pg_get_expr(p.polqual, p.polrelid) AS condition
  FROM pg_catalog.pg_policy p
  WHERE p.polrelid OPERATOR(pg_catalog.=) $1 AND p.polcmd OPERATOR(pg_catalog.=) ANY ('{r,*}'::pg_catalog."char"[])
    AND EXISTS (SELECT FROM pg_catalog.unnest(p.polroles) AS r (id)
                WHERE r.id OPERATOR(pg_catalog.=) 0 OR pg_catalog.pg_has_role(r.id, 'USAGE'))
)
SELECT c.relrowsecurity, pg_catalog.row_security_active(c.oid),
       EXISTS (SELECT FROM policies WHERE permissive AND condition OPERATOR(pg_catalog.=) 'true')
         AND NOT EXISTS (SELECT FROM policies WHERE NOT permissive AND coalesce(condition OPERATOR(pg_catalog.<>) 'true', true))
FROM pg_catalog.pg_class c
WHERE c.oid OPERATOR(pg_catalog.=) $1
