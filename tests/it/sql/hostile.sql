-- Shadows of every function, aggregate, operator and type of pg_catalog, which fail when they are used.
DO $hostile$
DECLARE
  found record;
  arguments text;
  made int := 0;
  skipped int := 0;
BEGIN
  FOR found IN
    SELECT p.oid, p.proname, p.prokind, p.proretset, p.provariadic, p.proisstrict, pg_catalog.format_type(p.prorettype, NULL) AS result,
           ARRAY(SELECT pg_catalog.format_type(t, NULL) FROM pg_catalog.unnest(p.proargtypes::pg_catalog.oid[]) AS t) AS types
      FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
  LOOP
    arguments := pg_catalog.array_to_string(found.types, ', ');
    IF found.provariadic <> 0 THEN
      arguments := pg_catalog.regexp_replace(arguments, '([^,]*)$', ' VARIADIC \1');
    END IF;
    BEGIN
      IF found.prokind = 'a' THEN
        EXECUTE pg_catalog.format('CREATE FUNCTION public.captured_%s(%s) RETURNS text LANGUAGE internal AS ''any_out''', found.oid,
                                  pg_catalog.array_to_string('{text}'::text[] || found.types, ', '));
        EXECUTE pg_catalog.format('CREATE AGGREGATE public.%I(%s) (SFUNC = public.captured_%s, STYPE = text, INITCOND = ''captured'')', found.proname,
                                  CASE arguments WHEN '' THEN '*' ELSE arguments END, found.oid);
      ELSE
        EXECUTE pg_catalog.format('CREATE FUNCTION public.%I(%s) RETURNS %s %s LANGUAGE internal %s AS ''any_out''', found.proname, arguments,
                                  CASE WHEN found.proretset THEN 'SETOF' ELSE '' END, found.result,
                                  CASE WHEN found.prokind = 'w' THEN 'WINDOW' ELSE '' END);
      END IF;
      made := made + 1;
    EXCEPTION WHEN OTHERS THEN
      skipped := skipped + 1;
      RAISE NOTICE '% %: %', found.proname, arguments, SQLERRM;
    END;
  END LOOP;
  FOR found IN
    SELECT o.oid, o.oprname, pg_catalog.format_type(o.oprresult, NULL) AS result,
           CASE WHEN o.oprleft <> 0 THEN pg_catalog.format_type(o.oprleft, NULL) END AS l, pg_catalog.format_type(o.oprright, NULL) AS r
      FROM pg_catalog.pg_operator o WHERE o.oprnamespace = 'pg_catalog'::pg_catalog.regnamespace AND o.oprcode <> 0
  LOOP
    BEGIN
      EXECUTE pg_catalog.format('CREATE FUNCTION public.captured_%s(%s) RETURNS %s LANGUAGE internal AS ''any_out''', found.oid,
                                pg_catalog.concat_ws(', ', found.l, found.r), found.result);
      EXECUTE pg_catalog.format('CREATE OPERATOR public.%s (%s RIGHTARG = %s, FUNCTION = public.captured_%s)', found.oprname,
                                'LEFTARG = ' || found.l || ',', found.r, found.oid);
      made := made + 1;
    EXCEPTION WHEN OTHERS THEN
      skipped := skipped + 1;
      RAISE NOTICE '% % %: %', found.l, found.oprname, found.r, SQLERRM;
    END;
  END LOOP;
  RAISE NOTICE 'made %, skipped %', made, skipped;
  FOREACH arguments IN ARRAY '{text,varchar,name,date,uuid,oid,regclass,regtype,regnamespace,bool,int2,int4,int8,json,jsonb,timestamptz,"\"char\""}'::text[] LOOP
    EXECUTE pg_catalog.format('CREATE DOMAIN public.%1$s AS pg_catalog.%1$s CHECK (VALUE IS NULL)', arguments);
  END LOOP;
END
$hostile$;
