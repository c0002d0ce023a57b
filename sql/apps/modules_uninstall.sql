-- Removes what modules.sql made: the schema latido_modules with its function, the triggers that call it, and the comment that marks the
-- installed version.
--
-- What stays is data of the application: the tables users, session, modules and module_state. The last one is written by Latido alone,
-- but it holds the last telemetry of each device, which exists nowhere else.
DO $latido$
DECLARE
    item record;
BEGIN
    FOR item IN
        SELECT t.tgname AS name, t.tgrelid::regclass AS place
          FROM pg_catalog.pg_trigger t
          JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
          JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
         WHERE n.nspname = 'latido_modules' AND NOT t.tgisinternal
    LOOP
        EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', item.name, item.place);
    END LOOP;
    IF pg_catalog.to_regnamespace('latido_modules') IS NOT NULL THEN
        DROP FUNCTION IF EXISTS latido_modules.changed();
        -- No CASCADE: an object of yours in this schema is never dropped silently. Then this fails, and nothing changes.
        DROP SCHEMA latido_modules;
    END IF;
    FOR item IN
        SELECT c.oid::regclass AS place FROM pg_catalog.pg_class c
         WHERE c.relname = 'module_state' AND c.relkind = 'r' AND pg_catalog.obj_description(c.oid, 'pg_class') LIKE 'latido %'
    LOOP
        EXECUTE pg_catalog.format('COMMENT ON TABLE %s IS NULL', item.place);
    END LOOP;
END
$latido$;
