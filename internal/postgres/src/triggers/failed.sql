  EXCEPTION WHEN OTHERS THEN
    -- A column was renamed, dropped or retyped, or a right revoked. The write goes on: any key may have changed, and the server reports why.
    BEGIN
      {result} := CASE WHEN {may_notify} THEN {start}{every_key} OPERATOR(pg_catalog.||)
                    CASE WHEN TG_OP OPERATOR(pg_catalog.=) 'TRUNCATE' THEN '' ELSE
                      ',' OPERATOR(pg_catalog.||)
                      pg_catalog.to_json(TG_TABLE_SCHEMA::pg_catalog.text OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) TG_TABLE_NAME::pg_catalog.text)::pg_catalog.text
                      OPERATOR(pg_catalog.||) ',"' OPERATOR(pg_catalog.||) SQLSTATE OPERATOR(pg_catalog.||) '"'
                    END OPERATOR(pg_catalog.||) ']'{end} END;
    EXCEPTION WHEN OTHERS THEN
      -- Not even a notification: the sweep finds the change.
      {result} := NULL;
    END;
