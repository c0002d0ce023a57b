
#variable_conflict use_column
DECLARE
  latido_over boolean;
  latido_items text[];
  latido_payloads text[];
  latido_payload text;
  latido_done boolean;
BEGIN
  -- Rows below this one have another key now. Another transaction may look up the old one still, so a server must read the new one again
  -- once all transactions of now have ended. The inner block has all that can fail, and no notification.
  BEGIN
{moved}    IF latido_payloads IS NOT NULL AND NOT {may_notify} THEN
      latido_payloads := NULL;
    END IF;
{failed}  END;
{send}END
