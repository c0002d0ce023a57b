      SELECT {many}count(*) > {max_keys} OR coalesce(bool_or(k.is_too_long), false),
             array_agg(k.item){watched}
        INTO {into_many}latido_over, latido_items
        FROM (SELECT {item}, {hash}, {is_too_long}
                FROM (SELECT {arguments}
                        FROM {rows}) AS r ({names}),
                     {keys} LIMIT {limit}) AS k (item, hash, is_too_long);
