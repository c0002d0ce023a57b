BEGIN;
SET LOCAL lock_timeout = '800ms';

-- What all triggers of latido share. Only the functions here call it, and they run as its owner.
CREATE SCHEMA IF NOT EXISTS latido;
COMMENT ON SCHEMA latido IS 'latido: triggers for live statistics; latido uninstall removes them';
CREATE OR REPLACE FUNCTION latido.changed(latido_stream text, latido_keys text[]) RETURNS void LANGUAGE plpgsql AS $latido$
-- Says that these keys of a stream changed; NULL, or more of them than worth naming: that any key may have.
DECLARE
  latido_head text := '[' || to_json(latido_stream)::text;
  latido_all text := latido_head || ',null]';
  latido_one text;
BEGIN
  IF latido_keys IS NULL OR cardinality(latido_keys) > 2000
     OR EXISTS (SELECT FROM unnest(latido_keys) AS k (key) WHERE octet_length(k.key) > 200) THEN
    PERFORM pg_notify('latido', latido_all);
    RETURN;
  END IF;
  IF cardinality(latido_keys) = 0 THEN
    RETURN;
  END IF;
  -- What nobody watches is left out. Servers hold the shared lock of each bucket in which they watch a key: whoever gets the exclusive one
  -- knows that none does, and keeps it, so that a server that begins to watch waits until this transaction can be seen. Nobody waits here.
  SELECT array_agg(k.key) INTO latido_keys
    FROM unnest(latido_keys) AS k (key)
   WHERE NOT pg_try_advisory_xact_lock(
           1818326127, ('x' || encode(substring(sha256(convert_to(latido_stream || ':' || k.key, 'UTF8')), 1, 2), 'hex'))::bit(16)::int % 1024);
  IF latido_keys IS NULL THEN
    RETURN;
  END IF;
  -- A payload of 8,000 bytes would fail the statement of the user.
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
COMMENT ON FUNCTION latido.changed(text, text[]) IS 'latido: sends what changed; sha256:0e4d676109a5549e495f25b93992c44cff2fc6e0fd52a6d763a129188e936830';

-- Stream estadisticas, table "public"."citas"
CREATE OR REPLACE FUNCTION "latido"."estadisticas_citas_ff86264d"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $latido$
#variable_conflict use_column
DECLARE
  latido_keys text[];
BEGIN
  IF TG_OP = 'INSERT' THEN
    SELECT array_agg(c.key::text) INTO latido_keys
      FROM (SELECT DISTINCT latido_r."negocio_id" FROM latido_new AS latido_r WHERE latido_r."negocio_id" IS NOT NULL LIMIT 2001) AS c (key);
  ELSIF TG_OP = 'DELETE' THEN
    SELECT array_agg(c.key::text) INTO latido_keys
      FROM (SELECT DISTINCT latido_r."negocio_id" FROM latido_old AS latido_r WHERE latido_r."negocio_id" IS NOT NULL LIMIT 2001) AS c (key);
  ELSIF TG_OP = 'UPDATE' THEN
    -- Old rows and new ones as multisets: what stands on both sides did not change, and a row that moves concerns both its keys.
    SELECT array_agg(c.key::text) INTO latido_keys
      FROM (SELECT DISTINCT d.key
              FROM (SELECT latido_r."negocio_id", ROW(latido_r."negocio_id", latido_r."fecha", latido_r."estado")::text, 1 FROM latido_new AS latido_r
                    UNION ALL
                    SELECT latido_r."negocio_id", ROW(latido_r."negocio_id", latido_r."fecha", latido_r."estado")::text, -1 FROM latido_old AS latido_r) AS d (key, facts, side)
             WHERE d.key IS NOT NULL
             GROUP BY d.key, d.facts HAVING sum(d.side) <> 0
             LIMIT 2001) AS c (key);
  ELSE
    PERFORM latido.changed('estadisticas', NULL);
    RETURN NULL;
  END IF;
  PERFORM latido.changed('estadisticas', coalesce(latido_keys, '{}'));
  RETURN NULL;
END
$latido$;
REVOKE ALL ON FUNCTION "latido"."estadisticas_citas_ff86264d"() FROM PUBLIC;
COMMENT ON FUNCTION "latido"."estadisticas_citas_ff86264d"() IS 'latido: changes of "public"."citas" for stream estadisticas; sha256:6d401ed9dbc10cda24573ed1fb2d0ebc5c6060e381c00dfe9431588e69c7d66d';
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_ins" AFTER INSERT ON "public"."citas" REFERENCING NEW TABLE AS latido_new FOR EACH STATEMENT EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_upd" AFTER UPDATE ON "public"."citas" REFERENCING OLD TABLE AS latido_old NEW TABLE AS latido_new FOR EACH STATEMENT EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_del" AFTER DELETE ON "public"."citas" REFERENCING OLD TABLE AS latido_old FOR EACH STATEMENT EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
CREATE OR REPLACE TRIGGER "latido_estadisticas_ff86264d_tru" AFTER TRUNCATE ON "public"."citas" FOR EACH STATEMENT EXECUTE FUNCTION "latido"."estadisticas_citas_ff86264d"();
ALTER TABLE ONLY "public"."citas" ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_ins", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_upd", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_del", ENABLE ALWAYS TRIGGER "latido_estadisticas_ff86264d_tru";

COMMIT;
