DO $latido$
BEGIN
  -- The search path of this transaction is pg_catalog.
  IF NOT EXISTS (SELECT FROM pg_proc WHERE pronamespace = '{schema}'::regnamespace)
     AND NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = '{schema}'::regnamespace)
     AND NOT EXISTS (SELECT FROM pg_type WHERE typnamespace = '{schema}'::regnamespace) THEN
    DROP SCHEMA {schema};
  END IF;
END
$latido$;
