-- Removes what messaging.sql made, wherever it was installed: its triggers, its functions, the change log messaging_changes and the
-- notifications of the last day.
--
-- What stays is data of the application: the tables conversations, conversation_members, messages, delivery_statuses and
-- message_reactions, and the sequence messaging_position, which must go on above the highest position if the app is installed again.
-- No CASCADE: an object of yours that uses one of the functions, such as a policy that calls messaging_member, is never dropped
-- silently. Then this fails, names that object, and nothing changes.
DO $latido$
DECLARE
    log pg_catalog.oid := pg_catalog.to_regclass('messaging_changes');
    path pg_catalog.text := pg_catalog.current_setting('search_path');
    home pg_catalog.oid;
    item record;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR home IN
        SELECT c.relnamespace FROM pg_class c
         WHERE c.relname = 'messaging_changes' AND c.relkind = 'r'
           AND (c.oid = log OR obj_description(c.oid, 'pg_class') LIKE 'latido %')
    LOOP
        FOR item IN
            SELECT t.tgname AS name, t.tgrelid::regclass AS place
              FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
             WHERE p.pronamespace = home AND NOT t.tgisinternal AND t.tgname IN ('messaging_place', 'messaging_tell')
        LOOP
            EXECUTE format('DROP TRIGGER %I ON %s', item.name, item.place);
        END LOOP;
        FOR item IN
            SELECT p.oid::regprocedure AS name FROM pg_proc p
             WHERE p.pronamespace = home AND p.proname IN (
                'messaging_refuse', 'messaging_note', 'messaging_forget', 'messaging_on_message', 'messaging_on_receipt',
                'messaging_on_reaction', 'messaging_on_member', 'messaging_on_conversation', 'messaging_member', 'messaging_enter',
                'messaging_send', 'messaging_edit', 'messaging_delete', 'messaging_receipt', 'messaging_read_all', 'messaging_react',
                'messaging_unreact', 'messaging_on_notification', 'messaging_notify')
        LOOP
            EXECUTE format('DROP FUNCTION %s', item.name);
        END LOOP;
        EXECUTE format('DROP TABLE IF EXISTS %I.messaging_notifications', (SELECT nspname FROM pg_namespace WHERE oid = home));
        EXECUTE format('DROP TABLE %I.messaging_changes', (SELECT nspname FROM pg_namespace WHERE oid = home));
    END LOOP;
    PERFORM set_config('search_path', path, true);
END
$latido$;
