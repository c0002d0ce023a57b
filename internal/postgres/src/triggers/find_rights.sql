-- Whether everybody may call what the triggers for rows do.
SELECT pg_catalog.bool_and(pg_catalog.has_function_privilege('public', f, 'EXECUTE'))
FROM pg_catalog.unnest(ARRAY['pg_catalog.pg_notify(pg_catalog.text,pg_catalog.text)', 'pg_catalog.pg_try_advisory_xact_lock(int,int)',
                             'pg_catalog.hashtextextended(pg_catalog.text,bigint)', 'pg_catalog.to_json(pg_catalog.anyelement)',
                             'pg_catalog.octet_length(pg_catalog.text)', 'pg_catalog.has_function_privilege(pg_catalog.oid,pg_catalog.text)',
                             'pg_catalog.pg_notification_queue_usage()']) AS f
