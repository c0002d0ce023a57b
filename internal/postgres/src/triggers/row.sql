
DECLARE
  latido_key text;
  latido_hash bigint;
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    PERFORM pg_catalog.pg_notify('latido', '[' || pg_catalog.to_json({stream}::text)::text || ',null]');
    RETURN NULL;
  END IF;
  -- What nobody watches is left out. Servers hold the shared lock of both buckets of each key that they watch: whoever gets the exclusive one
  -- of either knows that none does, and keeps it, so that a server that begins to watch waits until this transaction can be seen. Two,
  -- because another writer may have the first, or a server for another key. Nobody waits here.
  -- The most frequent case first: one key, and its first lock. Few expressions, for each is made ready again in every transaction.
  IF {same_key} THEN
    latido_hash := {hash_of_row};
    IF {try_first} THEN
      RETURN NULL;
    END IF;
  END IF;
  -- Images: every type has one, also those without equality.
  IF TG_OP = 'UPDATE' AND NOT (ROW({old_columns})::record *<> ROW({columns})::record) THEN
    RETURN NULL;
  END IF;
  -- A row that moves concerns both its keys. The server sends equal notifications of a transaction once.
  FOREACH latido_key IN ARRAY ARRAY[({old_key})::text, ({new_key})::text] LOOP
    CONTINUE WHEN latido_key IS NULL;
    latido_hash := {hash_of_key};
    IF NOT ({try_first}
            OR {try_second}) THEN
      PERFORM pg_catalog.pg_notify('latido', '[' || pg_catalog.to_json({stream}::text)::text || ','
                || CASE WHEN pg_catalog.octet_length(latido_key) <= {max_key_bytes} THEN pg_catalog.to_json(latido_key)::text ELSE 'null' END || ']');
    END IF;
    -- The second is the first again, unless the row moved.
    EXIT WHEN latido_key = ({new_key})::text COLLATE "C";
  END LOOP;
  RETURN NULL;
END
