-- As it is written, as schema.table written so, and only then as SQL reads it (lower case, unless quoted).
SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text,
       (SELECT pg_catalog.string_agg(s, ', ') FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) AS s)
FROM (SELECT coalesce(
        pg_catalog.to_regclass(pg_catalog.quote_ident($1)),
        CASE WHEN pg_catalog.strpos($1, '.') OPERATOR(pg_catalog.>) 0 THEN
          pg_catalog.to_regclass(pg_catalog.quote_ident(pg_catalog.split_part($1, '.', 1)) OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||)
            pg_catalog.quote_ident(pg_catalog.substr($1, pg_catalog.strpos($1, '.') OPERATOR(pg_catalog.+) 1))) END,
        CASE WHEN $1 OPERATOR(pg_catalog.~) '^("([^"]|"")+"|[[:alpha:]_][[:alnum:]_$]*)([.]("([^"]|"")+"|[[:alpha:]_][[:alnum:]_$]*))?$'
          THEN pg_catalog.to_regclass($1) END
      ) AS found) AS f
LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) f.found
LEFT JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
