
#variable_conflict use_column
DECLARE
  latido_over boolean;
  latido_items text[];
  latido_payloads text[];
  latido_payload text;
  latido_done boolean;
BEGIN
  -- The inner block has all that can fail, and no notification: a subtransaction that notifies keeps 8 kB until its transaction ends.
  BEGIN
    IF TG_OP = 'TRUNCATE' THEN
      latido_over := true;
    ELSIF TG_OP = 'UPDATE' AND NOT (ROW({old_columns})::record *<> ROW({new_columns})::record) THEN
      RETURN NULL;
    ELSE
{changed}    END IF;
{pack}{failed}  END;
{send}END
