-- What administrators see counted. One row, for the one key there is; who is connected is merged in by the server.
-- An unnest of several arrays is always that of pg_catalog.
-- A latido.toml with [streams.modules_stats] replaces it, for instance where users live in another table.
SELECT u.key, s.*
FROM unnest($1::pg_catalog.text[], $2::pg_catalog.date[]) AS u (key, today)
CROSS JOIN LATERAL (
  SELECT (SELECT pg_catalog.count(*) FROM users)                   AS users,
         (SELECT pg_catalog.count(*) FROM modules)                 AS modules,
         (SELECT pg_catalog.count(*) FROM modules WHERE claimed)   AS modules_claimed,
         (SELECT coalesce(pg_catalog.jsonb_object_agg(t.type, t.n), '{}')
            FROM (SELECT coalesce(m.type, 'unknown') AS type, pg_catalog.count(*) AS n FROM modules m GROUP BY 1 ORDER BY 1) t) AS module_types
) s
