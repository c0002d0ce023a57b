    IF latido_over OR latido_items IS NOT NULL THEN
      IF latido_over THEN
        latido_payloads := ARRAY[{every_key} || ']'];
      ELSIF cardinality(latido_items) = 1 THEN
        latido_payloads := ARRAY[{head} || latido_items[1] || ']'];
      ELSE
        -- A payload of 8,000 bytes would fail the statement of the user.
        latido_payloads := ARRAY(
          SELECT {head} || string_agg(c.item, ',' ORDER BY c.n) || ']'
            FROM (SELECT i.item, i.n, (sum(octet_length(i.item) + 1) OVER (ORDER BY i.n) - octet_length(i.item)) / {chunk_bytes} AS chunk
                    FROM unnest(latido_items) WITH ORDINALITY AS i (item, n)) AS c
           GROUP BY c.chunk);
      END IF;
      IF NOT {may_notify} THEN
        latido_payloads := NULL;
      END IF;
    ELSE
      -- The most frequent case. Each expression is made ready again in every transaction, so there are few.
      RETURN NULL;
    END IF;
