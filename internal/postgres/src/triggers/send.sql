  IF latido_payloads IS NOT NULL THEN
    FOREACH latido_payload IN ARRAY latido_payloads LOOP
      latido_done := pg_notify('latido', latido_payload) IS NULL;
    END LOOP;
  END IF;
  RETURN NULL;
