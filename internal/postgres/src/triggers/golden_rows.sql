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
CREATE OR REPLACE FUNCTION "latido"."estadisticas_citas_ff86264d"() RETURNS trigger LANGUAGE plpgsql SECURITY INVOKER AS $latido$
DECLARE
  latido_payload pg_catalog.text;
BEGIN
  -- Expressions only, and no query: an expression costs less, and has no plan to keep. Few of them, for each is made ready again in every
  -- transaction. The inner block has all that can fail, and no notification: a subtransaction that notifies keeps 8 kB until its
  -- transaction ends, and here each row is one.
  BEGIN
    -- What nobody watches is left out. Servers hold the shared lock of both buckets of each key that they watch: whoever gets the exclusive one
    -- of either knows that none does, and keeps it, so that a server that begins to watch waits until this transaction can be seen. Two,
    -- because another writer may have the first, or a server for another key. Nobody waits here.
    -- The most frequent case first: one key, and its first lock. TRUNCATE has no row, so its keys are NULL.
    IF coalesce(OLD."negocio_id" OPERATOR(pg_catalog.=) NEW."negocio_id", true)
       AND pg_catalog.pg_try_advisory_xact_lock(1818326127, (pg_catalog.hashtextextended(('estadisticas' OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) coalesce(NEW."negocio_id", OLD."negocio_id")::pg_catalog.text) COLLATE pg_catalog."C", 0) OPERATOR(pg_catalog.&) 1023)::int) THEN
      -- NULL. A variable costs less than an expression.
      RETURN latido_payload;
    END IF;
    IF TG_OP OPERATOR(pg_catalog.=) 'TRUNCATE' THEN
      latido_payload := '["estadisticas",null';
    -- Images: every type has one, also those without equality.
    ELSIF TG_OP OPERATOR(pg_catalog.=) 'UPDATE'
       AND NOT (ROW(OLD."negocio_id", OLD."fecha", OLD."estado")::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(NEW."negocio_id", NEW."fecha", NEW."estado")::pg_catalog.record) THEN
      RETURN NULL;
    END IF;
    -- Variables of their own, which the frequent case does not prepare.
    DECLARE
      latido_key pg_catalog.text;
      latido_hash bigint;
    BEGIN
      -- A row that moves concerns both its keys. The server sends equal notifications of a transaction once.
      FOREACH latido_key IN ARRAY ARRAY[(OLD."negocio_id")::pg_catalog.text, (NEW."negocio_id")::pg_catalog.text] LOOP
        CONTINUE WHEN latido_key IS NULL;
        latido_hash := pg_catalog.hashtextextended(('estadisticas' OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) latido_key) COLLATE pg_catalog."C", 0);
        IF NOT (pg_catalog.pg_try_advisory_xact_lock(1818326127, (latido_hash OPERATOR(pg_catalog.&) 1023)::int)
                OR pg_catalog.pg_try_advisory_xact_lock(1818326127, ((latido_hash OPERATOR(pg_catalog.>>) 32) OPERATOR(pg_catalog.&) 1023)::int OPERATOR(pg_catalog.+) 1024)) THEN
          IF pg_catalog.octet_length(latido_key) OPERATOR(pg_catalog.>) 200 THEN
            latido_payload := '["estadisticas",null';
            EXIT;
          END IF;
          latido_payload := coalesce(latido_payload OPERATOR(pg_catalog.||) ',', '["estadisticas",') OPERATOR(pg_catalog.||) pg_catalog.to_json(latido_key)::pg_catalog.text;
        END IF;
        -- The second is the first again, unless the row moved.
        EXIT WHEN latido_key OPERATOR(pg_catalog.=) (NEW."negocio_id")::pg_catalog.text COLLATE pg_catalog."C";
      END LOOP;
    END;
    latido_payload := CASE WHEN latido_payload IS NOT NULL AND (pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.75::pg_catalog.float8 AND pg_catalog.has_function_privilege('pg_catalog.pg_notify(pg_catalog.text,pg_catalog.text)'::pg_catalog.regprocedure, 'EXECUTE'))
                           THEN latido_payload OPERATOR(pg_catalog.||) ']' END;
  EXCEPTION WHEN OTHERS THEN
    -- A column was renamed, dropped or retyped, or a right revoked. The write goes on: any key may have changed, and the server reports why.
    BEGIN
      latido_payload := CASE WHEN (pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.75::pg_catalog.float8 AND pg_catalog.has_function_privilege('pg_catalog.pg_notify(pg_catalog.text,pg_catalog.text)'::pg_catalog.regprocedure, 'EXECUTE')) THEN '["estadisticas",null' OPERATOR(pg_catalog.||)
                    CASE WHEN TG_OP OPERATOR(pg_catalog.=) 'TRUNCATE' THEN '' ELSE
                      ',' OPERATOR(pg_catalog.||)
                      pg_catalog.to_json(TG_TABLE_SCHEMA::pg_catalog.text OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) TG_TABLE_NAME::pg_catalog.text)::pg_catalog.text
                      OPERATOR(pg_catalog.||) ',"' OPERATOR(pg_catalog.||) SQLSTATE OPERATOR(pg_catalog.||) '"'
                    END OPERATOR(pg_catalog.||) ']' END;
    EXCEPTION WHEN OTHERS THEN
      -- Not even a notification: the sweep finds the change.
      latido_payload := NULL;
    END;
  END;
  IF latido_payload IS NOT NULL THEN
    -- A condition of its own: the right to call a function is checked before any of an expression is computed.
    IF pg_catalog.pg_notify('latido', latido_payload) IS NULL THEN
      NULL;
    END IF;
  END IF;
  RETURN NULL;
END
$latido$;
REVOKE ALL ON FUNCTION "latido"."estadisticas_citas_ff86264d"() FROM PUBLIC;
COMMENT ON FUNCTION "latido"."estadisticas_citas_ff86264d"() IS 'latido: changes of "public"."citas" for stream estadisticas; columns {"estado":9,"fecha":6,"negocio_id":3}; sha256:788428199763b0b8ad3dd83ecc1ff1fa54a078e91267b7f5183ba09d2bbfbe65';
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_ins" AFTER INSERT ON "public"."citas" FOR EACH ROW EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_upd" AFTER UPDATE ON "public"."citas" FOR EACH ROW EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_del" AFTER DELETE ON "public"."citas" FOR EACH ROW EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_tru" AFTER TRUNCATE ON "public"."citas" FOR EACH STATEMENT EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
ALTER TABLE ONLY "public"."citas" ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_ins", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_upd", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_del", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_tru";

COMMIT;
