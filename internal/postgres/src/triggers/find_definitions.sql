-- The functions of these names in a schema, each with its triggers, as the SQL that makes them again. The search path must be pg_catalog:
-- all other names come qualified then. What triggers call comes before what calls it.
SELECT p.oid::pg_catalog.regprocedure::pg_catalog.text, pg_catalog.pg_get_functiondef(p.oid), pg_catalog.obj_description(p.oid, 'pg_proc'),
       p.proacl IS NULL OR EXISTS (SELECT FROM pg_catalog.aclexplode(p.proacl) AS a WHERE a.grantee OPERATOR(pg_catalog.=) 0),
       ARRAY(SELECT pg_catalog.concat(pg_catalog.pg_get_triggerdef(t.oid), E';\nALTER TABLE ONLY ', t.tgrelid::pg_catalog.regclass,
                      CASE t.tgenabled WHEN 'A' THEN ' ENABLE ALWAYS' WHEN 'R' THEN ' ENABLE REPLICA' WHEN 'D' THEN ' DISABLE' ELSE ' ENABLE' END,
                      ' TRIGGER ', pg_catalog.quote_ident(t.tgname::pg_catalog.text), E';\n')
             FROM pg_catalog.pg_trigger t
             WHERE t.tgfoid OPERATOR(pg_catalog.=) p.oid AND NOT t.tgisinternal AND t.tgparentid OPERATOR(pg_catalog.=) 0
             ORDER BY t.tgrelid, t.tgname)
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
WHERE n.nspname OPERATOR(pg_catalog.=) $1 AND p.proname OPERATOR(pg_catalog.=) ANY ($2)
ORDER BY p.prorettype OPERATOR(pg_catalog.=) 'pg_catalog.trigger'::pg_catalog.regtype, p.proname
