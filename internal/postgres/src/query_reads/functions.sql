-- Functions with their bodies, and the parts of aggregates. The search path is pg_catalog.
SELECT p.oid, n.nspname::text, p.proname::text, l.lanname::text, p.provolatile = 'i',
  EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'),
  p.pronargs::int4, pg_get_function_identity_arguments(p.oid), p.prosqlbody::text,
  CASE WHEN p.prokind = 'a' THEN
    ARRAY(SELECT d.refobjid FROM pg_depend d
          WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_proc'::regclass) END
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
WHERE p.oid = ANY ($1)
