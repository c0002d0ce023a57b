  -- What stands where these objects belong, and is not ours: whoever owns it could change what we rely on, and would gain our rights by it.
  -- Ours is what this role owns, or a role that it is a member of, or a superuser. A superuser is no member here, though every right is his.
  SELECT f.subject || ' of role ' || CASE f.owner WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(f.owner)::text END
    FROM (
      SELECT 'schema ' || n.nspname::text, n.nspowner FROM pg_catalog.pg_namespace n
       WHERE n.nspname::text = ANY ({schemas}) OR (n.nspname::text = {home} AND n.nspname <> 'public')
      UNION ALL
      SELECT 'the right to create in schema ' || n.nspname::text || ',', a.grantee
        FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
       WHERE n.nspname::text = ANY ({schemas}) AND a.privilege_type = 'CREATE'
      UNION ALL
      SELECT CASE c.relkind WHEN 'S' THEN 'sequence ' WHEN 'v' THEN 'view ' ELSE 'table ' END
             || pg_catalog.format('%I.%I', n.nspname, c.relname), c.relowner
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
       WHERE (n.nspname::text = {home} AND c.relname::text = ANY ({relations})) OR n.nspname::text = ANY ({schemas})
      UNION ALL
      -- Also functions of the same name with other arguments, which calls could find instead of ours.
      SELECT 'function ' || p.oid::pg_catalog.regprocedure::text, p.proowner
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
       WHERE (n.nspname::text = {home} AND p.proname::text = ANY ({functions})) OR n.nspname::text = ANY ({schemas})
      UNION ALL
      -- A trigger runs with the rights of whoever writes to the table, which on a table of ours are ours.
      SELECT pg_catalog.format('trigger %I on %s, which calls %s', t.tgname, t.tgrelid::pg_catalog.regclass, p.oid::pg_catalog.regprocedure),
             p.proowner
        FROM pg_catalog.pg_trigger t
        JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
        JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
       WHERE NOT t.tgisinternal
         AND (t.tgname::text = ANY ({triggers}) OR n.nspname::text = ANY ({schemas})
              OR (n.nspname::text = {home} AND c.relname::text = ANY ({guarded})))
    ) AS f (subject, owner),
    pg_catalog.pg_roles me
   WHERE me.rolname = current_user
     AND f.owner <> me.oid
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = f.owner AND r.rolsuper)
     AND CASE WHEN me.rolsuper OR f.owner = 0 THEN true ELSE NOT pg_catalog.pg_has_role(me.oid, f.owner, 'USAGE') END
   ORDER BY 1
