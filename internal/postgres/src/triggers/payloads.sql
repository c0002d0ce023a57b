
-- Returns the payloads that say that these keys of a stream changed, or, with more of them than worth naming, that any key may have. NULL:
-- there is nothing to send. Nothing is sent here, because the caller is in a subtransaction.
DECLARE
  latido_head pg_catalog.text;
  latido_one pg_catalog.text;
  latido_hash bigint;
BEGIN
  latido_head := '[' OPERATOR(pg_catalog.||) pg_catalog.to_json(latido_stream)::pg_catalog.text;
  -- The most frequent case first, and without a statement of its own.
  IF pg_catalog.cardinality(latido_keys) OPERATOR(pg_catalog.=) 1 AND pg_catalog.octet_length(latido_keys[1]) OPERATOR(pg_catalog.<=) {max_key_bytes} THEN
{gate_one}    RETURN ARRAY[latido_head OPERATOR(pg_catalog.||) ',' OPERATOR(pg_catalog.||) pg_catalog.to_json(latido_keys[1])::pg_catalog.text OPERATOR(pg_catalog.||) ']'];
  ELSIF pg_catalog.cardinality(latido_keys) OPERATOR(pg_catalog.>) {max_keys}
        OR EXISTS (SELECT FROM pg_catalog.unnest(latido_keys) AS k (key) WHERE pg_catalog.octet_length(k.key) OPERATOR(pg_catalog.>) {max_key_bytes}) THEN
    RETURN ARRAY[latido_head OPERATOR(pg_catalog.||) ',null]'];
  END IF;
{gate_each}  -- A payload of 8,000 bytes would fail the statement of the user.
  latido_one := latido_head OPERATOR(pg_catalog.||)
    (SELECT pg_catalog.string_agg(',' OPERATOR(pg_catalog.||) pg_catalog.to_json(k.key)::pg_catalog.text, '') FROM pg_catalog.unnest(latido_keys) AS k (key))
    OPERATOR(pg_catalog.||) ']';
  IF pg_catalog.octet_length(latido_one) OPERATOR(pg_catalog.<=) {max_payload} THEN
    RETURN ARRAY[latido_one];
  END IF;
  RETURN ARRAY(
    SELECT latido_head OPERATOR(pg_catalog.||) pg_catalog.string_agg(c.item, '') OPERATOR(pg_catalog.||) ']'
      FROM (SELECT i.item, (pg_catalog.sum(pg_catalog.octet_length(i.item)) OVER (ORDER BY i.n) OPERATOR(pg_catalog.-) pg_catalog.octet_length(i.item))
                           OPERATOR(pg_catalog./) ({chunk_bytes} OPERATOR(pg_catalog.-) pg_catalog.octet_length(latido_head)) AS chunk
              FROM (SELECT ',' OPERATOR(pg_catalog.||) pg_catalog.to_json(k.key)::pg_catalog.text, k.n
                      FROM pg_catalog.unnest(latido_keys) WITH ORDINALITY AS k (key, n)) AS i (item, n)) AS c
     GROUP BY c.chunk);
END
