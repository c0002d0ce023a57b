
BEGIN
  -- Whether a server watches any key of a stream. If the lock is free, none does.
  RETURN NOT {try_gate};
EXCEPTION WHEN OTHERS THEN
  -- The right was revoked, or the lock table is full. The trigger's function fires, and tells what it can.
  RETURN true;
END
