DO $latido$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['lock_timeout', 'statement_timeout', 'client_min_messages', 'search_path', 'row_security'] LOOP
    PERFORM pg_catalog.set_config(name, pg_catalog.current_setting('latido.' || name), true);
  END LOOP;
END
$latido$;
