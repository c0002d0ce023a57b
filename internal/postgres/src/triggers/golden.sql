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
CREATE OR REPLACE FUNCTION "latido"."estadisticas_citas_ff86264d"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $latido$
#variable_conflict use_column
DECLARE
  latido_key text;
  latido_old_key text;
  latido_differs boolean;
  latido_many boolean;
  latido_keys text[];
  latido_done boolean;
BEGIN
  -- Most statements write one row, and one row needs no sets: this costs its writer a third of what follows below.
  IF TG_OP = 'INSERT' THEN
    SELECT (latido_r."negocio_id")::text, EXISTS (SELECT FROM latido_new OFFSET 1) INTO latido_key, latido_many FROM latido_new AS latido_r;
  ELSIF TG_OP = 'DELETE' THEN
    SELECT (latido_r."negocio_id")::text, EXISTS (SELECT FROM latido_old OFFSET 1) INTO latido_key, latido_many FROM latido_old AS latido_r;
  ELSIF TG_OP = 'UPDATE' THEN
    -- Images: every type has one, also those without equality.
    SELECT (latido_r."negocio_id")::text, (latido_o."negocio_id")::text, ROW(latido_r."negocio_id", latido_r."fecha", latido_r."estado")::record *<> ROW(latido_o."negocio_id", latido_o."fecha", latido_o."estado")::record, EXISTS (SELECT FROM latido_new OFFSET 1)
      INTO latido_key, latido_old_key, latido_differs, latido_many FROM latido_new AS latido_r, latido_old AS latido_o;
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
    PERFORM latido.changed('estadisticas', NULL);
    RETURN NULL;
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
  -- An expression costs less than PERFORM, which is a statement.
  IF latido_keys IS NOT NULL THEN
    latido_done := latido.changed('estadisticas', latido_keys) IS NULL;
  END IF;
  RETURN NULL;
END
$latido$;
REVOKE ALL ON FUNCTION "latido"."estadisticas_citas_ff86264d"() FROM PUBLIC;
COMMENT ON FUNCTION "latido"."estadisticas_citas_ff86264d"() IS 'latido: changes of "public"."citas" for stream estadisticas; sha256:0b3bd27ba971b19655092afc1976e14ea45ac7deb57c8dd43e160776c486a232';
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_ins" AFTER INSERT ON "public"."citas" REFERENCING NEW TABLE AS latido_new FOR EACH STATEMENT EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_upd" AFTER UPDATE ON "public"."citas" REFERENCING OLD TABLE AS latido_old NEW TABLE AS latido_new FOR EACH STATEMENT EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_del" AFTER DELETE ON "public"."citas" REFERENCING OLD TABLE AS latido_old FOR EACH STATEMENT EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_tru" AFTER TRUNCATE ON "public"."citas" FOR EACH STATEMENT EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
ALTER TABLE ONLY "public"."citas" ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_ins", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_upd", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_del", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_tru";

COMMIT;
