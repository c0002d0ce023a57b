BEGIN;
SET LOCAL lock_timeout = '800ms';

-- What all triggers of latido share. Only the functions here call it, and they run as its owner.
CREATE SCHEMA IF NOT EXISTS latido;
COMMENT ON SCHEMA latido IS 'latido: triggers for live statistics; latido uninstall removes them';
CREATE OR REPLACE FUNCTION latido.payloads(latido_stream text, latido_keys text[]) RETURNS text[] LANGUAGE plpgsql AS $latido$
-- Returns the payloads that say that these keys of a stream changed, or, with more of them than worth naming, that any key may have. NULL:
-- there is nothing to send. Nothing is sent here, because the caller is in a subtransaction.
DECLARE
  latido_head pg_catalog.text;
  latido_one pg_catalog.text;
  latido_hash bigint;
BEGIN
  latido_head := '[' OPERATOR(pg_catalog.||) pg_catalog.to_json(latido_stream)::pg_catalog.text;
  -- The most frequent case first, and without a statement of its own.
  IF pg_catalog.cardinality(latido_keys) OPERATOR(pg_catalog.=) 1 AND pg_catalog.octet_length(latido_keys[1]) OPERATOR(pg_catalog.<=) 200 THEN
    -- What nobody watches is left out. Servers hold the shared lock of both buckets of each key that they watch: whoever gets the exclusive one
    -- of either knows that none does, and keeps it, so that a server that begins to watch waits until this transaction can be seen. Two,
    -- because another writer may have the first, or a server for another key. Nobody waits here.
    latido_hash := pg_catalog.hashtextextended((latido_stream OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) latido_keys[1]) COLLATE pg_catalog."C", 0);
    IF pg_catalog.pg_try_advisory_xact_lock(1818326127, (latido_hash OPERATOR(pg_catalog.&) 1023)::int)
       OR pg_catalog.pg_try_advisory_xact_lock(1818326127, ((latido_hash OPERATOR(pg_catalog.>>) 32) OPERATOR(pg_catalog.&) 1023)::int OPERATOR(pg_catalog.+) 1024) THEN
      RETURN NULL;
    END IF;
    RETURN ARRAY[latido_head OPERATOR(pg_catalog.||) ',' OPERATOR(pg_catalog.||) pg_catalog.to_json(latido_keys[1])::pg_catalog.text OPERATOR(pg_catalog.||) ']'];
  ELSIF pg_catalog.cardinality(latido_keys) OPERATOR(pg_catalog.>) 2000
        OR EXISTS (SELECT FROM pg_catalog.unnest(latido_keys) AS k (key) WHERE pg_catalog.octet_length(k.key) OPERATOR(pg_catalog.>) 200) THEN
    RETURN ARRAY[latido_head OPERATOR(pg_catalog.||) ',null]'];
  END IF;
  -- What nobody watches is left out, as above.
  SELECT pg_catalog.array_agg(k.key) INTO latido_keys
    FROM (SELECT k.key, pg_catalog.hashtextextended((latido_stream OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) k.key) COLLATE pg_catalog."C", 0) FROM pg_catalog.unnest(latido_keys) AS k (key) OFFSET 0) AS k (key, hash)
   WHERE NOT (pg_catalog.pg_try_advisory_xact_lock(1818326127, (k.hash OPERATOR(pg_catalog.&) 1023)::int)
              OR pg_catalog.pg_try_advisory_xact_lock(1818326127, ((k.hash OPERATOR(pg_catalog.>>) 32) OPERATOR(pg_catalog.&) 1023)::int OPERATOR(pg_catalog.+) 1024));
  IF latido_keys IS NULL THEN
    RETURN NULL;
  END IF;
  -- A payload of 8,000 bytes would fail the statement of the user.
  latido_one := latido_head OPERATOR(pg_catalog.||)
    (SELECT pg_catalog.string_agg(',' OPERATOR(pg_catalog.||) pg_catalog.to_json(k.key)::pg_catalog.text, '') FROM pg_catalog.unnest(latido_keys) AS k (key))
    OPERATOR(pg_catalog.||) ']';
  IF pg_catalog.octet_length(latido_one) OPERATOR(pg_catalog.<=) 7900 THEN
    RETURN ARRAY[latido_one];
  END IF;
  RETURN ARRAY(
    SELECT latido_head OPERATOR(pg_catalog.||) pg_catalog.string_agg(c.item, '') OPERATOR(pg_catalog.||) ']'
      FROM (SELECT i.item, (pg_catalog.sum(pg_catalog.octet_length(i.item)) OVER (ORDER BY i.n) OPERATOR(pg_catalog.-) pg_catalog.octet_length(i.item))
                           OPERATOR(pg_catalog./) (6697 OPERATOR(pg_catalog.-) pg_catalog.octet_length(latido_head)) AS chunk
              FROM (SELECT ',' OPERATOR(pg_catalog.||) pg_catalog.to_json(k.key)::pg_catalog.text, k.n
                      FROM pg_catalog.unnest(latido_keys) WITH ORDINALITY AS k (key, n)) AS i (item, n)) AS c
     GROUP BY c.chunk);
END
$latido$;
REVOKE ALL ON FUNCTION latido.payloads(text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION latido.payloads(text, text[]) IS 'latido: payloads for changed keys; sha256:783b57036780613af63c57c45c27a9c0f9ed4b52fe1e43c0c0fd11874dd9ec45';

-- Stream estadisticas, table "public"."citas"
CREATE OR REPLACE FUNCTION "latido"."estadisticas_citas_ff86264d"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $latido$
#variable_conflict use_column
DECLARE
  latido_key text;
  latido_old_key text;
  latido_differs boolean;
  latido_many boolean;
  latido_keys text[];
  latido_payloads text[];
  latido_payload text;
  latido_done boolean;
BEGIN
  -- The inner block has all that can fail, and no notification: a subtransaction that notifies keeps 8 kB until its transaction ends.
  BEGIN
    -- Most statements write one row, and one row needs no sets: this costs its writer a third of what follows below.
    -- LIMIT 1: a session keeps the plan of its first call, which must not depend on how many rows that wrote; and plpgsql.extra_errors refuses
    -- more than one row.
    IF TG_OP = 'INSERT' THEN
      SELECT (latido_r."negocio_id")::text, EXISTS (SELECT FROM latido_new OFFSET 1) INTO latido_key, latido_many FROM latido_new AS latido_r LIMIT 1;
    ELSIF TG_OP = 'DELETE' THEN
      SELECT (latido_r."negocio_id")::text, EXISTS (SELECT FROM latido_old OFFSET 1) INTO latido_key, latido_many FROM latido_old AS latido_r LIMIT 1;
    ELSIF TG_OP = 'UPDATE' THEN
      -- Images: every type has one, also those without equality.
      SELECT (latido_r."negocio_id")::text, (latido_o."negocio_id")::text, ROW(latido_r."negocio_id", latido_r."fecha", latido_r."estado")::record *<> ROW(latido_o."negocio_id", latido_o."fecha", latido_o."estado")::record, EXISTS (SELECT FROM latido_new OFFSET 1)
        INTO latido_key, latido_old_key, latido_differs, latido_many
        FROM (SELECT * FROM latido_new LIMIT 1) AS latido_r, (SELECT * FROM latido_old LIMIT 1) AS latido_o;
      IF NOT latido_many THEN
        IF NOT latido_differs THEN
          RETURN NULL;
        END IF;
        -- A row that moves concerns both its keys.
        IF latido_key IS DISTINCT FROM latido_old_key THEN
          latido_keys := array_remove(ARRAY[latido_key, latido_old_key], NULL);
        END IF;
      END IF;
    ELSE
      latido_payloads := ARRAY['["estadisticas",null' || ']'];
    END IF;
    IF NOT latido_many AND latido_keys IS NULL AND latido_key IS NOT NULL THEN
      latido_keys := ARRAY[latido_key];
    ELSIF latido_many AND TG_OP = 'INSERT' THEN
      SELECT array_agg(c.key::text) INTO latido_keys
        FROM (SELECT DISTINCT latido_r."negocio_id" FROM latido_new AS latido_r WHERE latido_r."negocio_id" IS NOT NULL LIMIT 2001) AS c (key);
    ELSIF latido_many AND TG_OP = 'DELETE' THEN
      SELECT array_agg(c.key::text) INTO latido_keys
        FROM (SELECT DISTINCT latido_r."negocio_id" FROM latido_old AS latido_r WHERE latido_r."negocio_id" IS NOT NULL LIMIT 2001) AS c (key);
    ELSIF latido_many THEN
      -- Old rows and new ones as multisets: what stands on both sides did not change, and a row that moves concerns both its keys.
      SELECT array_agg(c.key::text) INTO latido_keys
        FROM (SELECT DISTINCT d.key
                FROM (SELECT latido_r."negocio_id", ROW(latido_r."negocio_id", latido_r."fecha", latido_r."estado")::text, 1 FROM latido_new AS latido_r
                      UNION ALL
                      SELECT latido_r."negocio_id", ROW(latido_r."negocio_id", latido_r."fecha", latido_r."estado")::text, -1 FROM latido_old AS latido_r) AS d (key, facts, side)
               WHERE d.key IS NOT NULL
               GROUP BY d.key, d.facts HAVING sum(d.side) <> 0
               LIMIT 2001) AS c (key);
    END IF;
    IF latido_keys IS NOT NULL THEN
      latido_payloads := latido.payloads('estadisticas', latido_keys);
    END IF;
    IF latido_payloads IS NOT NULL AND NOT (pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.75::pg_catalog.float8 AND pg_catalog.has_function_privilege('pg_catalog.pg_notify(pg_catalog.text,pg_catalog.text)'::pg_catalog.regprocedure, 'EXECUTE')) THEN
      latido_payloads := NULL;
    END IF;
  EXCEPTION WHEN OTHERS THEN
    -- A column was renamed, dropped or retyped, or a right revoked. The write goes on: any key may have changed, and the server reports why.
    BEGIN
      latido_payloads := CASE WHEN (pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.75::pg_catalog.float8 AND pg_catalog.has_function_privilege('pg_catalog.pg_notify(pg_catalog.text,pg_catalog.text)'::pg_catalog.regprocedure, 'EXECUTE')) THEN ARRAY['["estadisticas",null' OPERATOR(pg_catalog.||)
                    CASE WHEN TG_OP OPERATOR(pg_catalog.=) 'TRUNCATE' THEN '' ELSE
                      ',' OPERATOR(pg_catalog.||)
                      pg_catalog.to_json(TG_TABLE_SCHEMA::pg_catalog.text OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) TG_TABLE_NAME::pg_catalog.text)::pg_catalog.text
                      OPERATOR(pg_catalog.||) ',"' OPERATOR(pg_catalog.||) SQLSTATE OPERATOR(pg_catalog.||) '"'
                    END OPERATOR(pg_catalog.||) ']'] END;
    EXCEPTION WHEN OTHERS THEN
      -- Not even a notification: the sweep finds the change.
      latido_payloads := NULL;
    END;
  END;
  IF latido_payloads IS NOT NULL THEN
    FOREACH latido_payload IN ARRAY latido_payloads LOOP
      latido_done := pg_notify('latido', latido_payload) IS NULL;
    END LOOP;
  END IF;
  RETURN NULL;
END
$latido$;
REVOKE ALL ON FUNCTION "latido"."estadisticas_citas_ff86264d"() FROM PUBLIC;
COMMENT ON FUNCTION "latido"."estadisticas_citas_ff86264d"() IS 'latido: changes of "public"."citas" for stream estadisticas; columns {"estado":9,"fecha":6,"negocio_id":3}; sha256:eecdce033f555b8d5952f8c919a4236bdcd26e5aeac439366200c19944fe142f';
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_ins" AFTER INSERT ON "public"."citas" REFERENCING NEW TABLE AS latido_new FOR EACH STATEMENT EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_upd" AFTER UPDATE ON "public"."citas" REFERENCING OLD TABLE AS latido_old NEW TABLE AS latido_new FOR EACH STATEMENT EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_del" AFTER DELETE ON "public"."citas" REFERENCING OLD TABLE AS latido_old FOR EACH STATEMENT EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_tru" AFTER TRUNCATE ON "public"."citas" FOR EACH STATEMENT EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
ALTER TABLE ONLY "public"."citas" ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_ins", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_upd", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_del", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_tru";

COMMIT;
