-- Our functions, each with its triggers: schema, table, name, state, type. A dump that was restored without comments has left their names.
SELECT p.proname::pg_catalog.text,
       coalesce((SELECT pg_catalog.string_agg(pg_catalog.format('%I.%I', an.nspname, a.typname), ', ' ORDER BY u.n)
                   FROM pg_catalog.unnest(p.proargtypes) WITH ORDINALITY AS u (type, n)
                   JOIN pg_catalog.pg_type a ON a.oid OPERATOR(pg_catalog.=) u.type
                   JOIN pg_catalog.pg_namespace an ON an.oid OPERATOR(pg_catalog.=) a.typnamespace), ''),
       p.prosrc,
       coalesce(pg_catalog.obj_description(p.oid, 'pg_proc'), ''),
       tn.nspname::pg_catalog.text, tc.relname::pg_catalog.text, t.tgname::pg_catalog.text, t.tgenabled::pg_catalog.text, t.tgtype,
       pg_catalog.has_function_privilege('public', p.oid, 'EXECUTE')
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
LEFT JOIN pg_catalog.pg_trigger t ON t.tgfoid OPERATOR(pg_catalog.=) p.oid AND NOT t.tgisinternal AND t.tgparentid OPERATOR(pg_catalog.=) 0
LEFT JOIN pg_catalog.pg_class tc ON tc.oid OPERATOR(pg_catalog.=) t.tgrelid
LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid OPERATOR(pg_catalog.=) tc.relnamespace
WHERE n.nspname OPERATOR(pg_catalog.=) $1
  AND CASE
        WHEN pg_catalog.obj_description(p.oid, 'pg_proc') IS NOT NULL
          THEN pg_catalog.starts_with(pg_catalog.obj_description(p.oid, 'pg_proc'), 'latido:')
        WHEN p.prorettype OPERATOR(pg_catalog.=) 'pg_catalog.trigger'::pg_catalog.regtype
          THEN p.proname::pg_catalog.text OPERATOR(pg_catalog.~) '_[0-9a-f]{8}$'
               AND (t.tgname IS NULL OR t.tgname::pg_catalog.text OPERATOR(pg_catalog.~) pg_catalog.concat('^', $1, '_.*_[0-9a-f]{8}_(ins|upd|del|tru)$'))
        WHEN p.proname::pg_catalog.text OPERATOR(pg_catalog.~) '_via_[0-9a-f]{8}$' THEN true
        WHEN p.proname OPERATOR(pg_catalog.=) 'is_watched' THEN
             pg_catalog.pg_get_function_identity_arguments(p.oid) OPERATOR(pg_catalog.=) 'latido_first_lock integer'
        ELSE p.proname OPERATOR(pg_catalog.=) ANY ('{changed,payloads}'::pg_catalog.name[])
               AND pg_catalog.pg_get_function_identity_arguments(p.oid) OPERATOR(pg_catalog.=) 'latido_stream text, latido_keys text[]'
      END
ORDER BY 1, 2, 5, 6, 7
