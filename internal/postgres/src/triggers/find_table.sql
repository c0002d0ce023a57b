-- As it is written, as schema.table written so, and only then as SQL reads it (lower case, unless quoted).
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, (SELECT string_agg(s, ', ') FROM unnest(current_schemas(false)) AS s)
FROM (SELECT coalesce(
        to_regclass(quote_ident($1)),
        CASE WHEN strpos($1, '.') > 0 THEN
          to_regclass(quote_ident(split_part($1, '.', 1)) || '.' || quote_ident(substr($1, strpos($1, '.') + 1))) END,
        CASE WHEN $1 ~ '^("[^"]+"|[[:alpha:]_][[:alnum:]_$]*)([.]("[^"]+"|[[:alpha:]_][[:alnum:]_$]*))?$' THEN to_regclass($1) END
      ) AS found) AS f
LEFT JOIN pg_class c ON c.oid = f.found LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
