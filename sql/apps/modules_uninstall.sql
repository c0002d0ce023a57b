-- Removes what modules.sql made: the schema latido_modules with its function, the triggers that call it, and the comment that marks the
-- installed version.
--
-- What stays is data of the application: the tables users, session, modules and module_state. The last one is written by Latido alone,
-- but it holds the last telemetry of each device, which exists nowhere else.
DO $latido$
DECLARE
    path pg_catalog.text := pg_catalog.current_setting('search_path');
    item record;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR item IN
        SELECT t.tgname AS name, t.tgrelid::regclass AS place
          FROM pg_trigger t
          JOIN pg_proc p ON p.oid = t.tgfoid
          JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE n.nspname = 'latido_modules' AND NOT t.tgisinternal
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', item.name, item.place);
    END LOOP;
    IF to_regnamespace('latido_modules') IS NOT NULL THEN
        DROP FUNCTION IF EXISTS latido_modules.changed();
        -- No CASCADE: an object of yours in this schema is never dropped silently. Then this fails, and nothing changes.
        DROP SCHEMA latido_modules;
    END IF;
    FOR item IN
        SELECT c.oid::regclass AS place FROM pg_class c
         WHERE c.relname = 'module_state' AND c.relkind = 'r' AND obj_description(c.oid, 'pg_class') LIKE 'latido %'
    LOOP
        EXECUTE format('COMMENT ON TABLE %s IS NULL', item.place);
    END LOOP;
    PERFORM set_config('search_path', path, true);
END
$latido$;
