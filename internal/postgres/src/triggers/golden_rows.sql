BEGIN;
SET LOCAL lock_timeout = '800ms';

-- What all triggers of latido share. Only the functions here call it, and they run as its owner.
CREATE SCHEMA IF NOT EXISTS latido;
COMMENT ON SCHEMA latido IS 'latido: triggers for live statistics; latido uninstall removes them';
CREATE OR REPLACE FUNCTION latido.changed(latido_stream text, latido_keys text[]) RETURNS void LANGUAGE plpgsql AS $latido$
-- Says that these keys of a stream changed; NULL, or more of them than worth naming: that any key may have.
DECLARE
  latido_head pg_catalog.text;
  latido_one pg_catalog.text;
  latido_hash bigint;
BEGIN
  IF pg_catalog.cardinality(latido_keys) OPERATOR(pg_catalog.=) 0 THEN
    RETURN;
  END IF;
  -- The most frequent case first, and without a statement of its own.
  IF pg_catalog.cardinality(latido_keys) OPERATOR(pg_catalog.=) 1 AND pg_catalog.octet_length(latido_keys[1]) OPERATOR(pg_catalog.<=) 200 THEN
    NULL;
  ELSIF latido_keys IS NULL OR pg_catalog.cardinality(latido_keys) OPERATOR(pg_catalog.>) 2000
        OR EXISTS (SELECT FROM pg_catalog.unnest(latido_keys) AS k (key) WHERE pg_catalog.octet_length(k.key) OPERATOR(pg_catalog.>) 200) THEN
    PERFORM pg_catalog.pg_notify('latido', '[' OPERATOR(pg_catalog.||) pg_catalog.to_json(latido_stream)::pg_catalog.text OPERATOR(pg_catalog.||) ',null]');
    RETURN;
  END IF;
  -- What nobody watches is left out. Servers hold the shared lock of both buckets of each key that they watch: whoever gets the exclusive one
  -- of either knows that none does, and keeps it, so that a server that begins to watch waits until this transaction can be seen. Two,
  -- because another writer may have the first, or a server for another key. Nobody waits here.
  IF pg_catalog.cardinality(latido_keys) OPERATOR(pg_catalog.=) 1 THEN
    latido_hash := pg_catalog.hashtextextended((latido_stream OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) latido_keys[1]) COLLATE pg_catalog."C", 0);
    IF pg_catalog.pg_try_advisory_xact_lock(1818326127, (latido_hash OPERATOR(pg_catalog.&) 1023)::int)
       OR pg_catalog.pg_try_advisory_xact_lock(1818326127, ((latido_hash OPERATOR(pg_catalog.>>) 32) OPERATOR(pg_catalog.&) 1023)::int OPERATOR(pg_catalog.+) 1024) THEN
      RETURN;
    END IF;
  ELSE
    SELECT pg_catalog.array_agg(k.key) INTO latido_keys
      FROM (SELECT k.key, pg_catalog.hashtextextended((latido_stream OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) k.key) COLLATE pg_catalog."C", 0) FROM pg_catalog.unnest(latido_keys) AS k (key) OFFSET 0) AS k (key, hash)
     WHERE NOT (pg_catalog.pg_try_advisory_xact_lock(1818326127, (k.hash OPERATOR(pg_catalog.&) 1023)::int)
                OR pg_catalog.pg_try_advisory_xact_lock(1818326127, ((k.hash OPERATOR(pg_catalog.>>) 32) OPERATOR(pg_catalog.&) 1023)::int OPERATOR(pg_catalog.+) 1024));
    IF latido_keys IS NULL THEN
      RETURN;
    END IF;
  END IF;
  -- A payload of 8,000 bytes would fail the statement of the user.
  latido_head := '[' OPERATOR(pg_catalog.||) pg_catalog.to_json(latido_stream)::pg_catalog.text;
  latido_one := latido_head OPERATOR(pg_catalog.||)
    (SELECT pg_catalog.string_agg(',' OPERATOR(pg_catalog.||) pg_catalog.to_json(k.key)::pg_catalog.text, '') FROM pg_catalog.unnest(latido_keys) AS k (key))
    OPERATOR(pg_catalog.||) ']';
  IF pg_catalog.octet_length(latido_one) OPERATOR(pg_catalog.<=) 7900 THEN
    PERFORM pg_catalog.pg_notify('latido', latido_one);
    RETURN;
  END IF;
  PERFORM pg_catalog.pg_notify('latido', latido_head OPERATOR(pg_catalog.||) pg_catalog.string_agg(c.item, '') OPERATOR(pg_catalog.||) ']')
    FROM (SELECT i.item, (pg_catalog.sum(pg_catalog.octet_length(i.item)) OVER (ORDER BY i.n) OPERATOR(pg_catalog.-) pg_catalog.octet_length(i.item))
                         OPERATOR(pg_catalog./) (6697 OPERATOR(pg_catalog.-) pg_catalog.octet_length(latido_head)) AS chunk
            FROM (SELECT ',' OPERATOR(pg_catalog.||) pg_catalog.to_json(k.key)::pg_catalog.text, k.n
                    FROM pg_catalog.unnest(latido_keys) WITH ORDINALITY AS k (key, n)) AS i (item, n)) AS c
   GROUP BY c.chunk;
END
$latido$;
REVOKE ALL ON FUNCTION latido.changed(text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION latido.changed(text, text[]) IS 'latido: sends what changed; sha256:eba858c349df7c41bf4acc6761097132af4238372a166fac859b238c7c85c9ec';

-- Stream estadisticas, table "public"."citas"
CREATE OR REPLACE FUNCTION "latido"."estadisticas_citas_ff86264d"() RETURNS trigger LANGUAGE plpgsql SECURITY INVOKER AS $latido$
DECLARE
  latido_key pg_catalog.text;
  latido_hash bigint;
  latido_done boolean;
BEGIN
  -- Expressions only, and no query: an expression costs less, and has no plan to keep.
  IF TG_OP OPERATOR(pg_catalog.=) 'TRUNCATE' THEN
    latido_done := pg_catalog.pg_notify('latido', '["estadisticas",null]') IS NULL;
    RETURN NULL;
  END IF;
  -- What nobody watches is left out. Servers hold the shared lock of both buckets of each key that they watch: whoever gets the exclusive one
  -- of either knows that none does, and keeps it, so that a server that begins to watch waits until this transaction can be seen. Two,
  -- because another writer may have the first, or a server for another key. Nobody waits here.
  -- The most frequent case first: one key, and its first lock. Few expressions, for each is made ready again in every transaction.
  IF coalesce(OLD."negocio_id", NEW."negocio_id") OPERATOR(pg_catalog.=) coalesce(NEW."negocio_id", OLD."negocio_id")
     AND pg_catalog.pg_try_advisory_xact_lock(1818326127, (pg_catalog.hashtextextended(('estadisticas' OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) coalesce(NEW."negocio_id", OLD."negocio_id")::pg_catalog.text) COLLATE pg_catalog."C", 0) OPERATOR(pg_catalog.&) 1023)::int) THEN
    RETURN NULL;
  END IF;
  -- Images: every type has one, also those without equality.
  IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE'
     AND NOT (ROW(OLD."negocio_id", OLD."fecha", OLD."estado")::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(NEW."negocio_id", NEW."fecha", NEW."estado")::pg_catalog.record) THEN
    RETURN NULL;
  END IF;
  -- A row that moves concerns both its keys. The server sends equal notifications of a transaction once.
  FOREACH latido_key IN ARRAY ARRAY[(OLD."negocio_id")::pg_catalog.text, (NEW."negocio_id")::pg_catalog.text] LOOP
    CONTINUE WHEN latido_key IS NULL;
    latido_hash := pg_catalog.hashtextextended(('estadisticas' OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) latido_key) COLLATE pg_catalog."C", 0);
    IF NOT (pg_catalog.pg_try_advisory_xact_lock(1818326127, (latido_hash OPERATOR(pg_catalog.&) 1023)::int)
            OR pg_catalog.pg_try_advisory_xact_lock(1818326127, ((latido_hash OPERATOR(pg_catalog.>>) 32) OPERATOR(pg_catalog.&) 1023)::int OPERATOR(pg_catalog.+) 1024)) THEN
      latido_done := pg_catalog.pg_notify('latido', '["estadisticas",' OPERATOR(pg_catalog.||)
          CASE WHEN pg_catalog.octet_length(latido_key) OPERATOR(pg_catalog.<=) 200 THEN pg_catalog.to_json(latido_key)::pg_catalog.text ELSE 'null' END
          OPERATOR(pg_catalog.||) ']') IS NULL;
    END IF;
    -- The second is the first again, unless the row moved.
    EXIT WHEN latido_key OPERATOR(pg_catalog.=) (NEW."negocio_id")::pg_catalog.text COLLATE pg_catalog."C";
  END LOOP;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  -- A column was renamed, dropped or retyped, or a right revoked. The write goes on: any key may have changed, and the server reports why.
  BEGIN
    latido_done := pg_catalog.pg_notify('latido', '["estadisticas",null,' OPERATOR(pg_catalog.||)
                     pg_catalog.to_json(TG_TABLE_SCHEMA::pg_catalog.text OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) TG_TABLE_NAME::pg_catalog.text)::pg_catalog.text
                     OPERATOR(pg_catalog.||) ',"' OPERATOR(pg_catalog.||) SQLSTATE OPERATOR(pg_catalog.||) '"]') IS NULL;
  EXCEPTION WHEN OTHERS THEN
    -- Not even a notification: the sweep finds the change.
    NULL;
  END;
  RETURN NULL;
END
$latido$;
REVOKE ALL ON FUNCTION "latido"."estadisticas_citas_ff86264d"() FROM PUBLIC;
COMMENT ON FUNCTION "latido"."estadisticas_citas_ff86264d"() IS 'latido: changes of "public"."citas" for stream estadisticas; sha256:052a818d419f96f25e20744ff11ddcedc03be86357c644cfec9414033f0faa71';
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_ins" AFTER INSERT ON "public"."citas" FOR EACH ROW EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_upd" AFTER UPDATE ON "public"."citas" FOR EACH ROW EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_del" AFTER DELETE ON "public"."citas" FOR EACH ROW EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_tru" AFTER TRUNCATE ON "public"."citas" FOR EACH STATEMENT EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
ALTER TABLE ONLY "public"."citas" ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_ins", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_upd", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_del", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_tru";

COMMIT;
