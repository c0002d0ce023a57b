-- Every object of this database that is not PostgreSQL's own: one row for each, with the table that it is a part of, or nothing.
-- A trigger, a comment and a grant are parts of no table: they must go even if their table stays.
WITH parts AS (
    SELECT 'pg_catalog.pg_class'::regclass AS class, c.oid AS object,
           coalesce((SELECT i.indrelid FROM pg_index i WHERE i.indexrelid = c.oid),
                    (SELECT d.refobjid FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND c.relkind = 'S'
                        AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')),
                    c.oid) AS owner
      FROM pg_class c
    UNION ALL
    SELECT 'pg_attrdef'::regclass, oid, adrelid FROM pg_attrdef
    UNION ALL
    SELECT 'pg_constraint'::regclass, oid, conrelid FROM pg_constraint WHERE conrelid <> 0
    UNION ALL
    SELECT 'pg_trigger'::regclass, oid, tgrelid FROM pg_trigger WHERE tgisinternal
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid, coalesce(nullif(t.typrelid, 0), e.typrelid)
      FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem
     WHERE coalesce(nullif(t.typrelid, 0), e.typrelid, 0) <> 0
), facts (class, object, line) AS (
    SELECT 'pg_class'::regclass, oid, format('relation %s %s of %s, %s, grants %s', relkind, oid::regclass, relowner::regrole, reloptions, relacl)
      FROM pg_class
    UNION ALL
    SELECT 'pg_class'::regclass, attrelid, format('column %s.%s %s %s %s, grants %s', attrelid::regclass, attname,
                                                  format_type(atttypid, atttypmod), attnotnull, attidentity, attacl)
      FROM pg_attribute WHERE attnum > 0
    UNION ALL
    SELECT 'pg_attrdef'::regclass, oid, format('default %s %s', pg_describe_object('pg_attrdef'::regclass, oid, 0), pg_get_expr(adbin, adrelid))
      FROM pg_attrdef
    UNION ALL
    SELECT 'pg_constraint'::regclass, oid, format('constraint %s on %s %s', conname, conrelid::regclass, pg_get_constraintdef(oid))
      FROM pg_constraint
    UNION ALL
    SELECT 'pg_trigger'::regclass, oid, format('trigger %s, %s', pg_get_triggerdef(oid), tgenabled) FROM pg_trigger
    UNION ALL
    SELECT 'pg_proc'::regclass, oid, format('function %s of %s, %s, grants %s', oid::regprocedure, proowner::regrole, md5(prosrc), proacl) FROM pg_proc
    UNION ALL
    SELECT 'pg_type'::regclass, oid, format('type %s, grants %s', oid::regtype, typacl) FROM pg_type
    UNION ALL
    SELECT 'pg_rewrite'::regclass, oid, format('rule %s on %s', rulename, ev_class::regclass) FROM pg_rewrite
    UNION ALL
    SELECT 'pg_policy'::regclass, oid, format('policy %s on %s', polname, polrelid::regclass) FROM pg_policy
), lines (owner, line) AS (
    SELECT p.owner, f.line FROM facts f LEFT JOIN parts p USING (class, object) WHERE f.object >= 16384
    UNION ALL
    SELECT NULL, format('schema %s of %s, grants %s', nspname, nspowner::regrole, nspacl) FROM pg_namespace
    UNION ALL
    SELECT NULL, format('comment on %s: %s', pg_describe_object(classoid, objoid, objsubid), description) FROM pg_description
     WHERE objoid >= 16384 OR classoid = 'pg_namespace'::regclass
    UNION ALL
    SELECT NULL, format('default grants of %s in %s: %s', defaclrole::regrole, defaclnamespace, defaclacl) FROM pg_default_acl
    UNION ALL
    SELECT NULL, format('setting %s %s %s', setdatabase, setrole, setconfig) FROM pg_db_role_setting
    UNION ALL
    SELECT NULL, format('other %s', pg_describe_object(classoid, objoid, 0))
      FROM (SELECT 'pg_extension'::regclass, oid FROM pg_extension
            UNION ALL SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger
            UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast
            UNION ALL SELECT 'pg_publication'::regclass, oid FROM pg_publication) AS o (classoid, objoid)
    UNION ALL
    SELECT p.owner, format('%s depends on %s (%s)', pg_describe_object(d.classid, d.objid, d.objsubid),
                           pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid), d.deptype)
      FROM pg_depend d LEFT JOIN parts p ON p.class = d.classid AND p.object = d.objid
     WHERE d.objid >= 16384
    UNION ALL
    SELECT p.owner, format('%s belongs to %s (%s)', pg_describe_object(d.classid, d.objid, d.objsubid),
                           pg_describe_object(d.refclassid, d.refobjid, 0), d.deptype)
      FROM pg_shdepend d LEFT JOIN parts p ON p.class = d.classid AND p.object = d.objid
     WHERE d.objid >= 16384 AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT coalesce(o.relname::text, '') AS owner, l.line
  FROM lines l LEFT JOIN pg_class o ON o.oid = l.owner
 WHERE l.line NOT LIKE '%pg_toast.pg_toast\_%'
 ORDER BY 2
