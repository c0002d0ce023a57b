DO $latido$
BEGIN
  -- The search path of this transaction is pg_catalog.
  IF to_regnamespace('{schema}') IS NOT NULL
     AND NOT EXISTS (SELECT FROM pg_proc WHERE pronamespace = to_regnamespace('{schema}'))
     AND NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('{schema}'))
     AND NOT EXISTS (SELECT FROM pg_type WHERE typnamespace = to_regnamespace('{schema}')) THEN
    DROP SCHEMA {schema};
  END IF;
END
$latido$;
