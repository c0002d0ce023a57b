-- Puts look-alikes into public, which then comes first in the search path: of every function of pg_catalog whose name is among the words
-- of the setting test.words, of the common operators for all types, and of the common types. Whatever calls one of them fails, and leaves
-- its name behind in public.captured() even if the error is caught.
CREATE SEQUENCE public.capture_number;
CREATE TABLE public.look_alikes (id bigint GENERATED ALWAYS AS IDENTITY (START 2) PRIMARY KEY, name text NOT NULL);

CREATE FUNCTION public.capture(number bigint) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM setval('public.capture_number', number);
    RAISE EXCEPTION 'captured: %', (SELECT name FROM public.look_alikes WHERE id = number);
END $$;

CREATE FUNCTION public.captured() RETURNS text LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT l.name FROM public.look_alikes l JOIN public.capture_number c ON c.last_value = l.id
$$;

-- Makes one function that only reports itself. A type that cannot be written in such a function is skipped.
CREATE PROCEDURE public.imitate(name text, arguments text, result text) LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    number bigint;
BEGIN
    INSERT INTO public.look_alikes (name) VALUES (name || '(' || arguments || ')') RETURNING id INTO number;
    EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', name, arguments, result,
                   format('BEGIN PERFORM public.capture(%s); END', number));
EXCEPTION WHEN duplicate_function OR invalid_function_definition OR feature_not_supported OR undefined_object THEN
    NULL;
END $$;

DO $$
DECLARE
    item record;
    kind text;
    types text;
BEGIN
    PERFORM set_config('search_path', 'pg_catalog', true);
    FOR item IN
        SELECT p.proname, array_to_string(ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) t), ',') AS arguments,
               CASE WHEN p.proretset THEN 'SETOF ' ELSE '' END || format_type(p.prorettype, NULL) AS result
          FROM pg_proc p
         WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY (string_to_array(current_setting('test.words'), ' '))
    LOOP
        CALL public.imitate(item.proname, item.arguments, item.result);
        -- Concrete types are a better match than polymorphic ones.
        FOREACH kind IN ARRAY ARRAY['text', 'uuid', 'bigint', 'boolean', 'jsonb'] LOOP
            types := replace(replace(replace(item.arguments, 'anyelement', kind), 'anyarray', kind || '[]'), '"any"', kind);
            CONTINUE WHEN types = item.arguments;
            CALL public.imitate(item.proname, types, CASE item.result WHEN 'anyelement' THEN kind WHEN 'anyarray' THEN kind || '[]'
                                                                      WHEN 'SETOF anyelement' THEN 'SETOF ' || kind ELSE item.result END);
        END LOOP;
    END LOOP;
    CALL public.imitate('jsonb_build_object', 'text,boolean', 'jsonb');
    CALL public.imitate('jsonb_build_object', 'text,uuid,text,text', 'jsonb');
    CALL public.imitate('jsonb_build_object', 'text,jsonb,text,jsonb,text,jsonb', 'jsonb');

    FOR item IN
        SELECT o.oprname, 'look_alike_' || o.oid AS function, o.oprleft, o.oprright, format_type(o.oprresult, NULL) AS result
          FROM pg_operator o
         WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprright <> 0 AND o.oprname IN (
            '=', '<>', '<', '>', '<=', '>=', '+', '-', '*', '/', '%', '||', '->', '->>', '~', '!~', '~*', '~~', '!~~', '~~*', '&', '|', '*<>')
    LOOP
        types := concat_ws(',', CASE WHEN item.oprleft <> 0 THEN format_type(item.oprleft, NULL) END, format_type(item.oprright, NULL));
        CALL public.imitate(item.function, types, item.result);
        CONTINUE WHEN to_regproc('public.' || item.function) IS NULL;
        UPDATE public.look_alikes SET name = item.oprname || ' of ' || types WHERE name LIKE item.function || '(%';
        EXECUTE format('CREATE OPERATOR public.%s (%s RIGHTARG = %s, FUNCTION = public.%s)', item.oprname,
                       CASE WHEN item.oprleft <> 0 THEN format('LEFTARG = %s,', format_type(item.oprleft, NULL)) END,
                       format_type(item.oprright, NULL), item.function);
    END LOOP;

    FOREACH kind IN ARRAY ARRAY['text', 'uuid', 'jsonb', 'json', 'bytea', 'date', 'xid8', 'pg_snapshot', 'timestamptz', 'regclass',
                                'regproc', 'regprocedure', 'oid', 'name', 'int2', 'int4', 'int8', 'bool', 'float8'] LOOP
        INSERT INTO public.look_alikes (name) VALUES ('type ' || kind) RETURNING id INTO item;
        EXECUTE format('CREATE DOMAIN public.%I AS pg_catalog.%I CHECK (public.capture(%s))', kind, kind, item.id);
    END LOOP;
    EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());
END $$;
