-- Our functions, each with its triggers: schema, table, name, state, type.
SELECT p.proname::text, pg_get_function_identity_arguments(p.oid), p.prosrc, obj_description(p.oid, 'pg_proc'),
       tn.nspname::text, tc.relname::text, t.tgname::text, t.tgenabled::text, t.tgtype
FROM pg_proc p
LEFT JOIN pg_trigger t ON t.tgfoid = p.oid AND NOT t.tgisinternal
LEFT JOIN pg_class tc ON tc.oid = t.tgrelid LEFT JOIN pg_namespace tn ON tn.oid = tc.relnamespace
WHERE p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'latido')
  AND obj_description(p.oid, 'pg_proc') LIKE 'latido:%'
ORDER BY 1, 2, 5, 6, 7
