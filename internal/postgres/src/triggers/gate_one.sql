    -- What nobody watches is left out. Servers hold the shared lock of both buckets of each key that they watch: whoever gets the exclusive one
    -- of either knows that none does, and keeps it, so that a server that begins to watch waits until this transaction can be seen. Two,
    -- because another writer may have the first, or a server for another key. Nobody waits here.
    latido_hash := {hash_of_key};
    IF {try_first}
       OR {try_second} THEN
      RETURN NULL;
    END IF;
