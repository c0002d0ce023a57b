  -- What nobody watches is left out. Servers hold the shared lock of both buckets of each key that they watch: whoever gets the exclusive one
  -- of either knows that none does, and keeps it, so that a server that begins to watch waits until this transaction can be seen. Two,
  -- because another writer may have the first, or a server for another key. Nobody waits here.
  IF pg_catalog.cardinality(latido_keys) OPERATOR(pg_catalog.=) 1 THEN
    latido_hash := {hash_of_key};
    IF {try_first}
       OR {try_second} THEN
      RETURN;
    END IF;
  ELSE
    SELECT pg_catalog.array_agg(k.key) INTO latido_keys
      FROM (SELECT k.key, {hash_of_each} FROM pg_catalog.unnest(latido_keys) AS k (key) OFFSET 0) AS k (key, hash)
     WHERE NOT ({try_first_each}
                OR {try_second_each});
    IF latido_keys IS NULL THEN
      RETURN;
    END IF;
  END IF;
