-- Whether everybody may call what the triggers for rows do.
SELECT pg_catalog.bool_and(pg_catalog.has_function_privilege('public', f, 'EXECUTE'))
FROM pg_catalog.unnest(ARRAY['pg_catalog.pg_notify(text,text)', 'pg_catalog.pg_try_advisory_xact_lock(int,int)',
                             'pg_catalog.hashtextextended(text,bigint)', 'pg_catalog.to_json(anyelement)', 'pg_catalog.octet_length(text)']) AS f
