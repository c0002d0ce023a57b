  -- What nobody watches is left out. Servers hold the shared lock of both buckets of each key that they watch: whoever gets the exclusive one
  -- of either knows that none does, and keeps it, so that a server that begins to watch waits until this transaction can be seen. Two,
  -- because another writer may have the first, or a server for another key. Nobody waits here.
  IF cardinality(latido_keys) = 1 THEN
    latido_hash := sha256(convert_to(latido_stream || ':' || latido_keys[1], 'UTF8'));
    IF pg_try_advisory_xact_lock({class}, ((get_byte(latido_hash, 0) << 8) + get_byte(latido_hash, 1)) % {buckets})
       OR pg_try_advisory_xact_lock({class}, ((get_byte(latido_hash, 2) << 8) + get_byte(latido_hash, 3)) % {buckets} + {buckets}) THEN
      RETURN;
    END IF;
  ELSE
    SELECT array_agg(k.key) INTO latido_keys
      FROM (SELECT k.key, sha256(convert_to(latido_stream || ':' || k.key, 'UTF8')) FROM unnest(latido_keys) AS k (key) OFFSET 0) AS k (key, hash)
     WHERE NOT (pg_try_advisory_xact_lock({class}, ((get_byte(k.hash, 0) << 8) + get_byte(k.hash, 1)) % {buckets})
                OR pg_try_advisory_xact_lock({class}, ((get_byte(k.hash, 2) << 8) + get_byte(k.hash, 3)) % {buckets} + {buckets}));
    IF latido_keys IS NULL THEN
      RETURN;
    END IF;
  END IF;
