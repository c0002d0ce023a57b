DO $latido$
BEGIN
  -- The search path of this transaction is pg_catalog.
  IF NOT EXISTS (SELECT FROM pg_proc WHERE pronamespace = 'latido'::regnamespace)
     AND NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'latido'::regnamespace)
     AND NOT EXISTS (SELECT FROM pg_type WHERE typnamespace = 'latido'::regnamespace) THEN
    DROP SCHEMA latido;
  END IF;
END
$latido$;
