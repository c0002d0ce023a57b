BEGIN;
SET LOCAL lock_timeout = '800ms';

-- What all triggers of latido share. Only the functions here call it, and they run as its owner.
CREATE SCHEMA IF NOT EXISTS latido;
COMMENT ON SCHEMA latido IS 'latido: triggers for live statistics; latido uninstall removes them';
CREATE OR REPLACE FUNCTION latido.changed(latido_stream text, latido_keys text[]) RETURNS void LANGUAGE plpgsql AS $latido$
-- Says that these keys of a stream changed; NULL, or more of them than worth naming: that any key may have.
DECLARE
  latido_head text;
  latido_one text;
  latido_hash bigint;
BEGIN
  IF cardinality(latido_keys) = 0 THEN
    RETURN;
  END IF;
  -- The most frequent case first, and without a statement of its own.
  IF cardinality(latido_keys) = 1 AND octet_length(latido_keys[1]) <= 200 THEN
    NULL;
  ELSIF latido_keys IS NULL OR cardinality(latido_keys) > 2000
        OR EXISTS (SELECT FROM unnest(latido_keys) AS k (key) WHERE octet_length(k.key) > 200) THEN
    PERFORM pg_notify('latido', '[' || to_json(latido_stream)::text || ',null]');
    RETURN;
  END IF;
  -- What nobody watches is left out. Servers hold the shared lock of both buckets of each key that they watch: whoever gets the exclusive one
  -- of either knows that none does, and keeps it, so that a server that begins to watch waits until this transaction can be seen. Two,
  -- because another writer may have the first, or a server for another key. Nobody waits here.
  IF cardinality(latido_keys) = 1 THEN
    latido_hash := pg_catalog.hashtextextended((latido_stream || ':' || latido_keys[1]) COLLATE pg_catalog."C", 0);
    IF pg_catalog.pg_try_advisory_xact_lock(1818326127, (latido_hash & 1023)::int)
       OR pg_catalog.pg_try_advisory_xact_lock(1818326127, ((latido_hash >> 32) & 1023)::int + 1024) THEN
      RETURN;
    END IF;
  ELSE
    SELECT array_agg(k.key) INTO latido_keys
      FROM (SELECT k.key, pg_catalog.hashtextextended((latido_stream || ':' || k.key) COLLATE pg_catalog."C", 0) FROM unnest(latido_keys) AS k (key) OFFSET 0) AS k (key, hash)
     WHERE NOT (pg_catalog.pg_try_advisory_xact_lock(1818326127, (k.hash & 1023)::int)
                OR pg_catalog.pg_try_advisory_xact_lock(1818326127, ((k.hash >> 32) & 1023)::int + 1024));
    IF latido_keys IS NULL THEN
      RETURN;
    END IF;
  END IF;
  -- A payload of 8,000 bytes would fail the statement of the user.
  latido_head := '[' || to_json(latido_stream)::text;
  latido_one := latido_head || (SELECT string_agg(',' || to_json(k.key)::text, '') FROM unnest(latido_keys) AS k (key)) || ']';
  IF octet_length(latido_one) <= 7900 THEN
    PERFORM pg_notify('latido', latido_one);
    RETURN;
  END IF;
  PERFORM pg_notify('latido', latido_head || string_agg(c.item, '') || ']')
    FROM (SELECT i.item, (sum(octet_length(i.item)) OVER (ORDER BY i.n) - octet_length(i.item))
                         / (7900 - 1203 - octet_length(latido_head)) AS chunk
            FROM (SELECT ',' || to_json(k.key)::text, k.n FROM unnest(latido_keys) WITH ORDINALITY AS k (key, n)) AS i (item, n)) AS c
   GROUP BY c.chunk;
END
$latido$;
REVOKE ALL ON FUNCTION latido.changed(text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION latido.changed(text, text[]) IS 'latido: sends what changed; sha256:671aefbf781781a65e71dcabdb06afbf83d54d045a8265dcdb08a5a9af908652';

-- Stream estadisticas, table "public"."citas"
CREATE OR REPLACE FUNCTION "latido"."estadisticas_citas_ff86264d"() RETURNS trigger LANGUAGE plpgsql SECURITY INVOKER AS $latido$
DECLARE
  latido_key text;
  latido_hash bigint;
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    PERFORM pg_catalog.pg_notify('latido', '[' || pg_catalog.to_json('estadisticas'::text)::text || ',null]');
    RETURN NULL;
  END IF;
  -- What nobody watches is left out. Servers hold the shared lock of both buckets of each key that they watch: whoever gets the exclusive one
  -- of either knows that none does, and keeps it, so that a server that begins to watch waits until this transaction can be seen. Two,
  -- because another writer may have the first, or a server for another key. Nobody waits here.
  -- The most frequent case first: one key, and its first lock. Few expressions, for each is made ready again in every transaction.
  IF coalesce(OLD."negocio_id", NEW."negocio_id") = coalesce(NEW."negocio_id", OLD."negocio_id") THEN
    latido_hash := pg_catalog.hashtextextended(('estadisticas' || ':' || coalesce(NEW."negocio_id", OLD."negocio_id")::text) COLLATE pg_catalog."C", 0);
    IF pg_catalog.pg_try_advisory_xact_lock(1818326127, (latido_hash & 1023)::int) THEN
      RETURN NULL;
    END IF;
  END IF;
  -- Images: every type has one, also those without equality.
  IF TG_OP = 'UPDATE' AND NOT (ROW(OLD."negocio_id", OLD."fecha", OLD."estado")::record *<> ROW(NEW."negocio_id", NEW."fecha", NEW."estado")::record) THEN
    RETURN NULL;
  END IF;
  -- A row that moves concerns both its keys. The server sends equal notifications of a transaction once.
  FOREACH latido_key IN ARRAY ARRAY[(OLD."negocio_id")::text, (NEW."negocio_id")::text] LOOP
    CONTINUE WHEN latido_key IS NULL;
    latido_hash := pg_catalog.hashtextextended(('estadisticas' || ':' || latido_key) COLLATE pg_catalog."C", 0);
    IF NOT (pg_catalog.pg_try_advisory_xact_lock(1818326127, (latido_hash & 1023)::int)
            OR pg_catalog.pg_try_advisory_xact_lock(1818326127, ((latido_hash >> 32) & 1023)::int + 1024)) THEN
      PERFORM pg_catalog.pg_notify('latido', '[' || pg_catalog.to_json('estadisticas'::text)::text || ','
                || CASE WHEN pg_catalog.octet_length(latido_key) <= 200 THEN pg_catalog.to_json(latido_key)::text ELSE 'null' END || ']');
    END IF;
    -- The second is the first again, unless the row moved.
    EXIT WHEN latido_key = (NEW."negocio_id")::text COLLATE "C";
  END LOOP;
  RETURN NULL;
END
$latido$;
REVOKE ALL ON FUNCTION "latido"."estadisticas_citas_ff86264d"() FROM PUBLIC;
COMMENT ON FUNCTION "latido"."estadisticas_citas_ff86264d"() IS 'latido: changes of "public"."citas" for stream estadisticas; sha256:bf516d88b2b19057d26b4828495869f1d626b9f29784bf5588f04728a85423b6';
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_ins" AFTER INSERT ON "public"."citas" FOR EACH ROW EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_upd" AFTER UPDATE ON "public"."citas" FOR EACH ROW EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_del" AFTER DELETE ON "public"."citas" FOR EACH ROW EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_tru" AFTER TRUNCATE ON "public"."citas" FOR EACH STATEMENT EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
ALTER TABLE ONLY "public"."citas" ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_ins", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_upd", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_del", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_tru";

COMMIT;
