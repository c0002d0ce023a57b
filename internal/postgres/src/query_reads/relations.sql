-- Relations with their columns, virtual generated columns, view, policies, the columns' types behind domains, and the columns with a
-- collation that is not deterministic. The search path is pg_catalog.
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence = 't',
  EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid),
  ARRAY(SELECT a.attnum::int4 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
  ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
  ARRAY(SELECT a.attnum::int4 FROM pg_attribute a JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
        JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refobjid = a.attrelid AND d.refobjsubid <> a.attnum
        WHERE a.attrelid = c.oid AND a.attgenerated = 'v' ORDER BY a.attnum, d.refobjsubid),
  ARRAY(SELECT d.refobjsubid FROM pg_attribute a JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
        JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refobjid = a.attrelid AND d.refobjsubid <> a.attnum
        WHERE a.attrelid = c.oid AND a.attgenerated = 'v' ORDER BY a.attnum, d.refobjsubid),
  (SELECT r.ev_action::text FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type = '1' AND c.relkind = 'v'),
  CASE WHEN c.relrowsecurity AND row_security_active(c.oid)
    THEN ARRAY(SELECT p.polqual::text FROM pg_policy p WHERE p.polrelid = c.oid AND p.polcmd IN ('r', '*') AND p.polqual IS NOT NULL)
    ELSE '{}'::text[] END,
  ARRAY(SELECT (WITH RECURSIVE d(oid, base, is_domain) AS (
            SELECT t.oid, t.typbasetype, t.typtype = 'd' FROM pg_type t WHERE t.oid = a.atttypid
            UNION ALL SELECT t.oid, t.typbasetype, t.typtype = 'd' FROM d JOIN pg_type t ON t.oid = d.base WHERE d.is_domain)
          SELECT d.oid FROM d WHERE NOT d.is_domain)
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
  ARRAY(SELECT a.attnum::int4 FROM pg_attribute a JOIN pg_collation o ON o.oid = a.attcollation
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT o.collisdeterministic)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY ($1)
