    -- What nobody watches is left out: if the lock is free, no server watches what this could concern.
    IF {is_free} THEN
      RETURN NULL;
    END IF;
