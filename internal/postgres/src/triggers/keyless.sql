
#variable_conflict use_column
DECLARE
  latido_payloads text[];
  latido_payload text;
  latido_done boolean;
BEGIN
  -- The inner block has all that can fail, and no notification: a subtransaction that notifies keeps 8 kB until its transaction ends.
  BEGIN
{gate}    IF TG_OP = 'INSERT' THEN
      IF NOT EXISTS (SELECT FROM latido_new) THEN RETURN NULL; END IF;
    ELSIF TG_OP = 'DELETE' THEN
      IF NOT EXISTS (SELECT FROM latido_old) THEN RETURN NULL; END IF;
    ELSIF TG_OP = 'UPDATE' THEN
      -- Old rows and new ones as multisets: what stands on both sides did not change.
      IF NOT EXISTS (SELECT FROM (SELECT ROW({columns})::text, 1 FROM latido_new AS latido_r
                                  UNION ALL
                                  SELECT ROW({columns})::text, -1 FROM latido_old AS latido_r) AS d (facts, side)
                      GROUP BY d.facts HAVING sum(d.side) <> 0) THEN
        RETURN NULL;
      END IF;
    END IF;
    latido_payloads := CASE WHEN {may_notify} THEN ARRAY[{payload} || ']'] END;
{failed}  END;
{send}END
