  -- What nobody watches is left out, as above.
  SELECT pg_catalog.array_agg(k.key) INTO latido_keys
    FROM (SELECT k.key, {hash_of_each} FROM pg_catalog.unnest(latido_keys) AS k (key) OFFSET 0) AS k (key, hash)
   WHERE NOT ({try_first_each}
              OR {try_second_each});
  IF latido_keys IS NULL THEN
    RETURN NULL;
  END IF;
