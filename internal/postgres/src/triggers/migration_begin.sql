-- The settings of this transaction, for the end of it: a migration tool writes its own tables next.
DO $latido$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['lock_timeout', 'statement_timeout', 'client_min_messages', 'search_path', 'row_security'] LOOP
    PERFORM pg_catalog.set_config('latido.' || name, pg_catalog.current_setting(name), true);
  END LOOP;
END
$latido$;
