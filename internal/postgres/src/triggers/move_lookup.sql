    SELECT count(*) > {max_keys} OR coalesce(bool_or(k.is_too_long), false), array_agg(k.item)
      INTO latido_over, latido_items
      FROM (SELECT {item}, {is_too_long} FROM {function}({arguments}) AS v LIMIT {limit}) AS k (item, is_too_long);
    latido_payloads := CASE WHEN latido_over THEN ARRAY[{every_key} || ']']
                            ELSE ARRAY(SELECT {head} || i.item || ']' FROM unnest(latido_items) AS i (item)) END;
