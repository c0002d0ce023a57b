
#variable_conflict use_column
DECLARE
  latido_many boolean;
  latido_over boolean;
  latido_items text[];
  latido_payloads text[];
  latido_payload text;
  latido_done boolean;
BEGIN
  -- The inner block has all that can fail, and no notification: a subtransaction that notifies keeps 8 kB until its transaction ends.
  BEGIN
    IF TG_OP = 'INSERT' THEN
{inserted}    ELSIF TG_OP = 'DELETE' THEN
{deleted}    ELSIF TG_OP = 'UPDATE' THEN
      -- One row needs no sets. LIMIT 1: a session keeps the plan of its first call, which must not depend on how many rows that wrote.
{updated_one}      IF latido_many THEN
        -- Old rows and new ones as multisets: what stands on both sides did not change, and a row that moves concerns both its keys.
{updated_many}      END IF;
    ELSE
      latido_over := true;
    END IF;
{pack}{failed}  END;
{send}END
