
DECLARE
  latido_payload pg_catalog.text;
BEGIN
  -- Expressions only, and no query: an expression costs less, and has no plan to keep. Few of them, for each is made ready again in every
  -- transaction. The inner block has all that can fail, and no notification: a subtransaction that notifies keeps 8 kB until its
  -- transaction ends, and here each row is one.
  BEGIN
    -- What nobody watches is left out. Servers hold the shared lock of both buckets of each key that they watch: whoever gets the exclusive one
    -- of either knows that none does, and keeps it, so that a server that begins to watch waits until this transaction can be seen. Two,
    -- because another writer may have the first, or a server for another key. Nobody waits here.
    -- The most frequent case first: one key, and its first lock. TRUNCATE has no row, so its keys are NULL.
    IF {same_key}
       AND {key_is_free} THEN
      -- NULL. A variable costs less than an expression.
      RETURN latido_payload;
    END IF;
    IF TG_OP OPERATOR(pg_catalog.=) 'TRUNCATE' THEN
      latido_payload := {every_key};
    -- Images: every type has one, also those without equality.
    ELSIF TG_OP OPERATOR(pg_catalog.=) 'UPDATE'
       AND NOT (ROW({old_columns})::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW({columns})::pg_catalog.record) THEN
      RETURN NULL;
    END IF;
    -- Variables of their own, which the frequent case does not prepare.
    DECLARE
      latido_key {key_type};
      latido_hash bigint;
    BEGIN
      -- A row that moves concerns both its keys. The server sends equal notifications of a transaction once.
      {each_key}
        CONTINUE WHEN latido_key IS NULL;
        latido_hash := {hash_of_key};
        IF NOT ({try_first}
                OR {try_second}) THEN
          IF {is_too_long} THEN
            latido_payload := {every_key};
            EXIT;
          END IF;
          latido_payload := coalesce(latido_payload OPERATOR(pg_catalog.||) ',', {head}) OPERATOR(pg_catalog.||) {item};
        END IF;
        -- The second is the first again, unless the row moved.
        EXIT WHEN latido_key OPERATOR(pg_catalog.=) {last_key};
      END LOOP;
    END;
    latido_payload := CASE WHEN latido_payload IS NOT NULL AND {may_notify}
                           THEN latido_payload OPERATOR(pg_catalog.||) ']' END;
{failed}  END;
  IF latido_payload IS NOT NULL THEN
    -- A condition of its own: the right to call a function is checked before any of an expression is computed.
    IF pg_catalog.pg_notify('latido', latido_payload) IS NULL THEN
      NULL;
    END IF;
  END IF;
  RETURN NULL;
END
