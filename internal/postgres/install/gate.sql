  -- What nobody watches is left out. Servers hold the shared lock of each bucket in which they watch a key: whoever gets the exclusive one
  -- knows that none does, and keeps it, so that a server that begins to watch waits until this transaction can be seen. Nobody waits here.
  SELECT array_agg(k.key) INTO latido_keys
    FROM unnest(latido_keys) AS k (key)
   WHERE NOT pg_try_advisory_xact_lock(
           {class}, ('x' || encode(substring(sha256(convert_to(latido_stream || ':' || k.key, 'UTF8')), 1, 2), 'hex'))::bit(16)::int % {buckets});
  IF latido_keys IS NULL THEN
    RETURN;
  END IF;
