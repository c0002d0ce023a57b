
#variable_conflict use_column
DECLARE
  latido_key text;
  latido_old_key text;
  latido_differs boolean;
  latido_many boolean;
  latido_keys text[];
  latido_payloads text[];
  latido_payload text;
  latido_done boolean;
BEGIN
  -- The inner block has all that can fail, and no notification: a subtransaction that notifies keeps 8 kB until its transaction ends.
  BEGIN
    -- Most statements write one row, and one row needs no sets: this costs its writer a third of what follows below.
    -- LIMIT 1: a session keeps the plan of its first call, which must not depend on how many rows that wrote; and plpgsql.extra_errors refuses
    -- more than one row.
    IF TG_OP = 'INSERT' THEN
      SELECT ({key})::text, EXISTS (SELECT FROM latido_new OFFSET 1) INTO latido_key, latido_many FROM latido_new AS latido_r LIMIT 1;
    ELSIF TG_OP = 'DELETE' THEN
      SELECT ({key})::text, EXISTS (SELECT FROM latido_old OFFSET 1) INTO latido_key, latido_many FROM latido_old AS latido_r LIMIT 1;
    ELSIF TG_OP = 'UPDATE' THEN
      -- Images: every type has one, also those without equality.
      SELECT ({key})::text, ({old_key})::text, ROW({columns})::record *<> ROW({old_columns})::record, EXISTS (SELECT FROM latido_new OFFSET 1)
        INTO latido_key, latido_old_key, latido_differs, latido_many
        FROM (SELECT * FROM latido_new LIMIT 1) AS latido_r, (SELECT * FROM latido_old LIMIT 1) AS latido_o;
      IF NOT latido_many THEN
        IF NOT latido_differs THEN
          RETURN NULL;
        END IF;
        -- A row that moves concerns both its keys.
        IF latido_key IS DISTINCT FROM latido_old_key THEN
          latido_keys := array_remove(ARRAY[latido_key, latido_old_key], NULL);
        END IF;
      END IF;
    ELSE
      latido_payloads := ARRAY[{every_key} || ']'];
    END IF;
    IF NOT latido_many AND latido_keys IS NULL AND latido_key IS NOT NULL THEN
      latido_keys := ARRAY[latido_key];
    ELSIF latido_many AND TG_OP = 'INSERT' THEN
      SELECT array_agg(c.key::text) INTO latido_keys
        FROM (SELECT DISTINCT {key} FROM latido_new AS latido_r WHERE {key} IS NOT NULL LIMIT {limit}) AS c (key);
    ELSIF latido_many AND TG_OP = 'DELETE' THEN
      SELECT array_agg(c.key::text) INTO latido_keys
        FROM (SELECT DISTINCT {key} FROM latido_old AS latido_r WHERE {key} IS NOT NULL LIMIT {limit}) AS c (key);
    ELSIF latido_many THEN
      -- Old rows and new ones as multisets: what stands on both sides did not change, and a row that moves concerns both its keys.
      SELECT array_agg(c.key::text) INTO latido_keys
        FROM (SELECT DISTINCT d.key
                FROM (SELECT {key}, ROW({columns})::text, 1 FROM latido_new AS latido_r
                      UNION ALL
                      SELECT {key}, ROW({columns})::text, -1 FROM latido_old AS latido_r) AS d (key, facts, side)
               WHERE d.key IS NOT NULL
               GROUP BY d.key, d.facts HAVING sum(d.side) <> 0
               LIMIT {limit}) AS c (key);
    END IF;
    IF latido_keys IS NOT NULL THEN
      latido_payloads := {schema}.payloads({stream}, latido_keys);
    END IF;
    IF latido_payloads IS NOT NULL AND NOT {may_notify} THEN
      latido_payloads := NULL;
    END IF;
{failed}  END;
{send}END
