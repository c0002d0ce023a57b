
DECLARE
  latido_key pg_catalog.text;
  latido_hash bigint;
  latido_done boolean;
BEGIN
  -- Expressions only, and no query: an expression costs less, and has no plan to keep.
  IF TG_OP OPERATOR(pg_catalog.=) 'TRUNCATE' THEN
    latido_done := pg_catalog.pg_notify('latido', {everything}) IS NULL;
    RETURN NULL;
  END IF;
  -- What nobody watches is left out. Servers hold the shared lock of both buckets of each key that they watch: whoever gets the exclusive one
  -- of either knows that none does, and keeps it, so that a server that begins to watch waits until this transaction can be seen. Two,
  -- because another writer may have the first, or a server for another key. Nobody waits here.
  -- The most frequent case first: one key, and its first lock. Few expressions, for each is made ready again in every transaction.
  IF {same_key}
     AND {key_is_free} THEN
    RETURN NULL;
  END IF;
  -- Images: every type has one, also those without equality.
  IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE'
     AND NOT (ROW({old_columns})::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW({columns})::pg_catalog.record) THEN
    RETURN NULL;
  END IF;
  -- A row that moves concerns both its keys. The server sends equal notifications of a transaction once.
  FOREACH latido_key IN ARRAY ARRAY[({old_key})::pg_catalog.text, ({new_key})::pg_catalog.text] LOOP
    CONTINUE WHEN latido_key IS NULL;
    latido_hash := {hash_of_key};
    IF NOT ({try_first}
            OR {try_second}) THEN
      latido_done := pg_catalog.pg_notify('latido', {head} OPERATOR(pg_catalog.||)
          CASE WHEN pg_catalog.octet_length(latido_key) OPERATOR(pg_catalog.<=) {max_key_bytes} THEN pg_catalog.to_json(latido_key)::pg_catalog.text ELSE 'null' END
          OPERATOR(pg_catalog.||) ']') IS NULL;
    END IF;
    -- The second is the first again, unless the row moved.
    EXIT WHEN latido_key OPERATOR(pg_catalog.=) ({new_key})::pg_catalog.text COLLATE pg_catalog."C";
  END LOOP;
  RETURN NULL;
{failed}END
