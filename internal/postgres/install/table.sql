
#variable_conflict use_column
DECLARE
  latido_keys text[];
BEGIN
  IF TG_OP = 'INSERT' THEN
    SELECT array_agg(c.key::text) INTO latido_keys
      FROM (SELECT DISTINCT {key} FROM latido_new AS latido_r WHERE {key} IS NOT NULL LIMIT {limit}) AS c (key);
  ELSIF TG_OP = 'DELETE' THEN
    SELECT array_agg(c.key::text) INTO latido_keys
      FROM (SELECT DISTINCT {key} FROM latido_old AS latido_r WHERE {key} IS NOT NULL LIMIT {limit}) AS c (key);
  ELSIF TG_OP = 'UPDATE' THEN
    -- Old rows and new ones as multisets: what stands on both sides did not change, and a row that moves concerns both its keys.
    SELECT array_agg(c.key::text) INTO latido_keys
      FROM (SELECT DISTINCT d.key
              FROM (SELECT {key}, ROW({columns})::text, 1 FROM latido_new AS latido_r
                    UNION ALL
                    SELECT {key}, ROW({columns})::text, -1 FROM latido_old AS latido_r) AS d (key, facts, side)
             WHERE d.key IS NOT NULL
             GROUP BY d.key, d.facts HAVING sum(d.side) <> 0
             LIMIT {limit}) AS c (key);
  ELSE
    PERFORM latido.changed({stream}, NULL);
    RETURN NULL;
  END IF;
  PERFORM latido.changed({stream}, coalesce(latido_keys, '{}'));
  RETURN NULL;
END
