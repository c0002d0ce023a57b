
-- Says that these keys of a stream changed; NULL, or more of them than worth naming: that any key may have.
DECLARE
  latido_head text;
  latido_one text;
  latido_hash bigint;
BEGIN
  IF cardinality(latido_keys) = 0 THEN
    RETURN;
  END IF;
  -- The most frequent case first, and without a statement of its own.
  IF cardinality(latido_keys) = 1 AND octet_length(latido_keys[1]) <= {max_key_bytes} THEN
    NULL;
  ELSIF latido_keys IS NULL OR cardinality(latido_keys) > {max_keys}
        OR EXISTS (SELECT FROM unnest(latido_keys) AS k (key) WHERE octet_length(k.key) > {max_key_bytes}) THEN
    PERFORM pg_notify('latido', '[' || to_json(latido_stream)::text || ',null]');
    RETURN;
  END IF;
{gate}  -- A payload of 8,000 bytes would fail the statement of the user.
  latido_head := '[' || to_json(latido_stream)::text;
  latido_one := latido_head || (SELECT string_agg(',' || to_json(k.key)::text, '') FROM unnest(latido_keys) AS k (key)) || ']';
  IF octet_length(latido_one) <= {max_payload} THEN
    PERFORM pg_notify('latido', latido_one);
    RETURN;
  END IF;
  PERFORM pg_notify('latido', latido_head || string_agg(c.item, '') || ']')
    FROM (SELECT i.item, (sum(octet_length(i.item)) OVER (ORDER BY i.n) - octet_length(i.item))
                         / ({max_payload} - {max_item} - octet_length(latido_head)) AS chunk
            FROM (SELECT ',' || to_json(k.key)::text, k.n FROM unnest(latido_keys) WITH ORDINALITY AS k (key, n)) AS i (item, n)) AS c
   GROUP BY c.chunk;
END
