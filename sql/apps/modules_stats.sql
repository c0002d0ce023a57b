-- What administrators see counted. One row, for the one key there is; who is connected is merged in by the server.
-- A latido.toml with [streams.modules_stats] replaces it, for instance where users live in another table.
SELECT u.key, s.*
FROM unnest($1::text[], $2::date[]) AS u (key, today)
CROSS JOIN LATERAL (
  SELECT (SELECT count(*) FROM users)                   AS users,
         (SELECT count(*) FROM modules)                 AS modules,
         (SELECT count(*) FROM modules WHERE claimed)   AS modules_claimed,
         (SELECT coalesce(jsonb_object_agg(t.type, t.n), '{}')
            FROM (SELECT coalesce(m.type, 'unknown') AS type, count(*) AS n FROM modules m GROUP BY 1 ORDER BY 1) t) AS module_types
) s
