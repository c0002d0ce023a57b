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
-- The condition of triggers that cannot tell keys from rows alone. A condition runs as the writer, so everybody may call this. It runs as its owner,
-- and fails no write.
CREATE OR REPLACE FUNCTION latido.is_watched(latido_first_lock pg_catalog.int4) RETURNS pg_catalog.bool LANGUAGE plpgsql SECURITY DEFINER AS $latido$
BEGIN
  -- Whether a server watches any key of a stream. If the lock is free, none does.
  RETURN NOT pg_catalog.pg_try_advisory_xact_lock(1818326127, latido_first_lock OPERATOR(pg_catalog.+) (pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.&) 63));
EXCEPTION WHEN OTHERS THEN
  -- The right was revoked, or the lock table is full. The trigger's function fires, and tells what it can.
  RETURN true;
END
$latido$;
GRANT EXECUTE ON FUNCTION latido.is_watched(pg_catalog.int4) TO PUBLIC;
COMMENT ON FUNCTION latido.is_watched(pg_catalog.int4) IS 'latido: whether a stream is watched; sha256:26c032d769e52038576de61e6c7bf83eec5ee38e05205444866eacb10c7fac05';

-- The keys of changed rows: stream ventas, table "public"."lineas". Only its trigger functions call it, which run as its owner.
SET LOCAL search_path TO DEFAULT;

CREATE OR REPLACE FUNCTION "latido"."ventas_lineas_via_ddeb834b"(a1 bigint[]) RETURNS TABLE (k1 pg_catalog.text, k2 pg_catalog.text) LANGUAGE sql STABLE
BEGIN ATOMIC
  WITH changed AS (SELECT c."pedido_id" FROM ROWS FROM (pg_catalog.unnest($1)) AS c ("pedido_id"))
  SELECT DISTINCT d.* FROM (SELECT v.k1::pg_catalog.text COLLATE pg_catalog."C", pg_catalog.to_char(v.k2::pg_catalog.timestamp, 'YYYY-MM-DD'::pg_catalog.text) COLLATE pg_catalog."C" FROM (
SELECT p.tienda_id, p.dia FROM changed c JOIN pedidos p ON p.id = c.pedido_id
  ) AS v (k1, k2)) AS d (k1, k2) WHERE d.k1 IS NOT NULL AND d.k2 IS NOT NULL;
END;
SET LOCAL search_path = pg_catalog;
REVOKE ALL ON FUNCTION "latido"."ventas_lineas_via_ddeb834b"(bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION "latido"."ventas_lineas_via_ddeb834b"(bigint[]) IS 'latido: lookup of keys; sha256:77282338ff20693a8f7ae7d45bbf66182ac003d2a9d47b798a0c76ad278f633f';
-- Fails if its owner may not read, or would not see, all that it needs.
SET LOCAL row_security = off;
DO $latido$ BEGIN PERFORM * FROM "latido"."ventas_lineas_via_ddeb834b"(NULL); END $latido$;
SET LOCAL row_security TO DEFAULT;
-- Stream ventas, table "public"."lineas"
CREATE OR REPLACE FUNCTION "latido"."ventas_lineas_ddeb834b"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off SET lock_timeout = '200ms' SET jit = off AS $latido$
#variable_conflict use_column
DECLARE
  latido_many boolean;
  latido_over boolean;
  latido_items text[];
  latido_payloads text[];
  latido_payload text;
  latido_done boolean;
BEGIN
  -- The inner block has all that can fail, and no notification: a subtransaction that notifies keeps 8 kB until its transaction ends.
  BEGIN
    IF TG_OP = 'INSERT' THEN
      SELECT count(*) > 2000 OR coalesce(bool_or(k.is_too_long), false),
             array_agg(k.item) FILTER (WHERE NOT (pg_catalog.pg_try_advisory_xact_lock(1818326127, (k.hash OPERATOR(pg_catalog.&) 1023)::int)
                                                OR pg_catalog.pg_try_advisory_xact_lock(1818326127, ((k.hash OPERATOR(pg_catalog.>>) 32) OPERATOR(pg_catalog.&) 1023)::int OPERATOR(pg_catalog.+) 1024)))
        INTO latido_over, latido_items
        FROM (SELECT pg_catalog.to_json(ARRAY[v.k1, v.k2]::pg_catalog.text[])::pg_catalog.text, pg_catalog.hashtextextended((v.k2) COLLATE pg_catalog."C", pg_catalog.hashtextextended(('ventas' OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) v.k1) COLLATE pg_catalog."C", 0)), pg_catalog.octet_length(v.k1) OPERATOR(pg_catalog.+) pg_catalog.octet_length(v.k2) OPERATOR(pg_catalog.>) 200
                FROM (SELECT array_agg(n."pedido_id")
                        FROM latido_new AS n) AS r (c1),
                     "latido"."ventas_lineas_via_ddeb834b"(r.c1) AS v LIMIT 2001) AS k (item, hash, is_too_long);
    ELSIF TG_OP = 'DELETE' THEN
      SELECT count(*) > 2000 OR coalesce(bool_or(k.is_too_long), false),
             array_agg(k.item) FILTER (WHERE NOT (pg_catalog.pg_try_advisory_xact_lock(1818326127, (k.hash OPERATOR(pg_catalog.&) 1023)::int)
                                                OR pg_catalog.pg_try_advisory_xact_lock(1818326127, ((k.hash OPERATOR(pg_catalog.>>) 32) OPERATOR(pg_catalog.&) 1023)::int OPERATOR(pg_catalog.+) 1024)))
        INTO latido_over, latido_items
        FROM (SELECT pg_catalog.to_json(ARRAY[v.k1, v.k2]::pg_catalog.text[])::pg_catalog.text, pg_catalog.hashtextextended((v.k2) COLLATE pg_catalog."C", pg_catalog.hashtextextended(('ventas' OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) v.k1) COLLATE pg_catalog."C", 0)), pg_catalog.octet_length(v.k1) OPERATOR(pg_catalog.+) pg_catalog.octet_length(v.k2) OPERATOR(pg_catalog.>) 200
                FROM (SELECT array_agg(o."pedido_id")
                        FROM latido_old AS o) AS r (c1),
                     "latido"."ventas_lineas_via_ddeb834b"(r.c1) AS v LIMIT 2001) AS k (item, hash, is_too_long);
    ELSIF TG_OP = 'UPDATE' THEN
      -- One row needs no sets. LIMIT 1: a session keeps the plan of its first call, which must not depend on how many rows that wrote.
      SELECT EXISTS (SELECT FROM latido_new OFFSET 1), count(*) > 2000 OR coalesce(bool_or(k.is_too_long), false),
             array_agg(k.item) FILTER (WHERE NOT (pg_catalog.pg_try_advisory_xact_lock(1818326127, (k.hash OPERATOR(pg_catalog.&) 1023)::int)
                                                OR pg_catalog.pg_try_advisory_xact_lock(1818326127, ((k.hash OPERATOR(pg_catalog.>>) 32) OPERATOR(pg_catalog.&) 1023)::int OPERATOR(pg_catalog.+) 1024)))
        INTO latido_many, latido_over, latido_items
        FROM (SELECT pg_catalog.to_json(ARRAY[v.k1, v.k2]::pg_catalog.text[])::pg_catalog.text, pg_catalog.hashtextextended((v.k2) COLLATE pg_catalog."C", pg_catalog.hashtextextended(('ventas' OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) v.k1) COLLATE pg_catalog."C", 0)), pg_catalog.octet_length(v.k1) OPERATOR(pg_catalog.+) pg_catalog.octet_length(v.k2) OPERATOR(pg_catalog.>) 200
                FROM (SELECT ARRAY[o."pedido_id", n."pedido_id"]
                        FROM (SELECT * FROM latido_old LIMIT 1) AS o, (SELECT * FROM latido_new LIMIT 1) AS n
                       WHERE NOT EXISTS (SELECT FROM latido_new OFFSET 1) AND ROW(o."pedido_id", o."cantidad")::record *<> ROW(n."pedido_id", n."cantidad")::record) AS r (c1),
                     "latido"."ventas_lineas_via_ddeb834b"(r.c1) AS v LIMIT 2001) AS k (item, hash, is_too_long);
      IF latido_many THEN
        -- Old rows and new ones as multisets: what stands on both sides did not change, and a row that moves concerns both its keys.
      SELECT count(*) > 2000 OR coalesce(bool_or(k.is_too_long), false),
             array_agg(k.item) FILTER (WHERE NOT (pg_catalog.pg_try_advisory_xact_lock(1818326127, (k.hash OPERATOR(pg_catalog.&) 1023)::int)
                                                OR pg_catalog.pg_try_advisory_xact_lock(1818326127, ((k.hash OPERATOR(pg_catalog.>>) 32) OPERATOR(pg_catalog.&) 1023)::int OPERATOR(pg_catalog.+) 1024)))
        INTO latido_over, latido_items
        FROM (SELECT pg_catalog.to_json(ARRAY[v.k1, v.k2]::pg_catalog.text[])::pg_catalog.text, pg_catalog.hashtextextended((v.k2) COLLATE pg_catalog."C", pg_catalog.hashtextextended(('ventas' OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) v.k1) COLLATE pg_catalog."C", 0)), pg_catalog.octet_length(v.k1) OPERATOR(pg_catalog.+) pg_catalog.octet_length(v.k2) OPERATOR(pg_catalog.>) 200
                FROM (SELECT array_agg(d.c1)
                        FROM (SELECT DISTINCT s.c1
                                FROM (SELECT n."pedido_id", ROW(n."pedido_id", n."cantidad")::text, 1 FROM latido_new AS n
                                      UNION ALL
                                      SELECT o."pedido_id", ROW(o."pedido_id", o."cantidad")::text, -1 FROM latido_old AS o) AS s (c1, facts, side)
                               GROUP BY s.c1, s.facts HAVING sum(s.side) <> 0) AS d) AS r (c1),
                     "latido"."ventas_lineas_via_ddeb834b"(r.c1) AS v LIMIT 2001) AS k (item, hash, is_too_long);
      END IF;
    ELSE
      latido_over := true;
    END IF;
    IF latido_over OR latido_items IS NOT NULL THEN
      IF latido_over THEN
        latido_payloads := ARRAY['["ventas",null' || ']'];
      ELSIF cardinality(latido_items) = 1 THEN
        latido_payloads := ARRAY['["ventas",' || latido_items[1] || ']'];
      ELSE
        -- A payload of 8,000 bytes would fail the statement of the user.
        latido_payloads := ARRAY(
          SELECT '["ventas",' || string_agg(c.item, ',' ORDER BY c.n) || ']'
            FROM (SELECT i.item, i.n, (sum(octet_length(i.item) + 1) OVER (ORDER BY i.n) - octet_length(i.item)) / 6687 AS chunk
                    FROM unnest(latido_items) WITH ORDINALITY AS i (item, n)) AS c
           GROUP BY c.chunk);
      END IF;
      IF NOT (pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.75::pg_catalog.float8 AND pg_catalog.has_function_privilege('pg_catalog.pg_notify(pg_catalog.text,pg_catalog.text)'::pg_catalog.regprocedure, 'EXECUTE')) THEN
        latido_payloads := NULL;
      END IF;
    ELSE
      -- The most frequent case. Each expression is made ready again in every transaction, so there are few.
      RETURN NULL;
    END IF;
  EXCEPTION WHEN OTHERS THEN
    -- A column was renamed, dropped or retyped, or a right revoked. The write goes on: any key may have changed, and the server reports why.
    BEGIN
      latido_payloads := CASE WHEN (pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.75::pg_catalog.float8 AND pg_catalog.has_function_privilege('pg_catalog.pg_notify(pg_catalog.text,pg_catalog.text)'::pg_catalog.regprocedure, 'EXECUTE')) THEN ARRAY['["ventas",null' OPERATOR(pg_catalog.||)
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
REVOKE ALL ON FUNCTION "latido"."ventas_lineas_ddeb834b"() FROM PUBLIC;
COMMENT ON FUNCTION "latido"."ventas_lineas_ddeb834b"() IS 'latido: changes of "public"."lineas" for stream ventas; lookup {"parts":["Integer","Date"],"names":["tienda_id","dia"],"arguments":[{"Column":{"name":"pedido_id","data_type":"bigint","collation":null}}],"path":[{"schema":"public","table":"pedidos","columns":["id","tienda_id","dia"],"relations":[["public","pedidos"]],"is_moved_by_insert":false,"key":{"Columns":[[{"name":"tienda_id","kind":"Integer"},{"name":"dia","kind":"Date"}]]}}],"functions":[]}; columns {"cantidad":3,"pedido_id":2}; sha256:d0b7fd6c85ec4926ebd7f6825b9c11f6e9be52ff86670c29d63dfba1dcc1c879';
CREATE OR REPLACE TRIGGER "latido_ventas_ddeb834b_ins" AFTER INSERT ON "public"."lineas" REFERENCING NEW TABLE AS latido_new FOR EACH STATEMENT WHEN (latido.is_watched(2176)) EXECUTE FUNCTION "latido"."ventas_lineas_ddeb834b"();
CREATE OR REPLACE TRIGGER "latido_ventas_ddeb834b_upd" AFTER UPDATE ON "public"."lineas" REFERENCING OLD TABLE AS latido_old NEW TABLE AS latido_new FOR EACH STATEMENT WHEN (latido.is_watched(2176)) EXECUTE FUNCTION "latido"."ventas_lineas_ddeb834b"();
CREATE OR REPLACE TRIGGER "latido_ventas_ddeb834b_del" AFTER DELETE ON "public"."lineas" REFERENCING OLD TABLE AS latido_old FOR EACH STATEMENT WHEN (latido.is_watched(2176)) EXECUTE FUNCTION "latido"."ventas_lineas_ddeb834b"();
CREATE OR REPLACE TRIGGER "latido_ventas_ddeb834b_tru" AFTER TRUNCATE ON "public"."lineas" FOR EACH STATEMENT WHEN (latido.is_watched(2176)) EXECUTE FUNCTION "latido"."ventas_lineas_ddeb834b"();
ALTER TABLE ONLY "public"."lineas" ENABLE ALWAYS TRIGGER "latido_ventas_ddeb834b_ins", ENABLE ALWAYS TRIGGER "latido_ventas_ddeb834b_upd", ENABLE ALWAYS TRIGGER "latido_ventas_ddeb834b_del", ENABLE ALWAYS TRIGGER "latido_ventas_ddeb834b_tru";
-- Stream ventas, moves of rows below table "public"."pedidos"
CREATE OR REPLACE FUNCTION "latido"."ventas_pedidos_moves_0252da5c"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off SET lock_timeout = '200ms' SET jit = off AS $latido$
#variable_conflict use_column
DECLARE
  latido_over boolean;
  latido_items text[];
  latido_payloads text[];
  latido_payload text;
  latido_done boolean;
BEGIN
  -- Rows below this one have another key now. Another transaction may look up the old one still, so a server must read the new one again
  -- once all transactions of now have ended. The inner block has all that can fail, and no notification.
  BEGIN
    latido_payloads := array_remove(ARRAY[CASE WHEN NEW."tienda_id"::pg_catalog.text IS NOT NULL AND pg_catalog.to_char(NEW."dia"::pg_catalog.timestamp, 'YYYY-MM-DD'::pg_catalog.text) IS NOT NULL THEN CASE WHEN pg_catalog.octet_length(NEW."tienda_id"::pg_catalog.text) OPERATOR(pg_catalog.+) pg_catalog.octet_length(pg_catalog.to_char(NEW."dia"::pg_catalog.timestamp, 'YYYY-MM-DD'::pg_catalog.text)) OPERATOR(pg_catalog.>) 200 THEN '["ventas!",null' ELSE '["ventas!",' || pg_catalog.to_json(ARRAY[NEW."tienda_id"::pg_catalog.text, pg_catalog.to_char(NEW."dia"::pg_catalog.timestamp, 'YYYY-MM-DD'::pg_catalog.text)]::pg_catalog.text[])::pg_catalog.text END || ']' END]::text[], NULL);
    IF latido_payloads IS NOT NULL AND NOT (pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.75::pg_catalog.float8 AND pg_catalog.has_function_privilege('pg_catalog.pg_notify(pg_catalog.text,pg_catalog.text)'::pg_catalog.regprocedure, 'EXECUTE')) THEN
      latido_payloads := NULL;
    END IF;
  EXCEPTION WHEN OTHERS THEN
    -- A column was renamed, dropped or retyped, or a right revoked. The write goes on: any key may have changed, and the server reports why.
    BEGIN
      latido_payloads := CASE WHEN (pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.75::pg_catalog.float8 AND pg_catalog.has_function_privilege('pg_catalog.pg_notify(pg_catalog.text,pg_catalog.text)'::pg_catalog.regprocedure, 'EXECUTE')) THEN ARRAY['["ventas!",null' OPERATOR(pg_catalog.||)
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
REVOKE ALL ON FUNCTION "latido"."ventas_pedidos_moves_0252da5c"() FROM PUBLIC;
COMMENT ON FUNCTION "latido"."ventas_pedidos_moves_0252da5c"() IS 'latido: moves of "public"."pedidos" for stream ventas; sha256:37c55096ec20f97d62437325f18ba0f120cbc66487350b7151c4e96041f2c250';
CREATE OR REPLACE TRIGGER "latido_ventas_0252da5c_upd" AFTER UPDATE ON "public"."pedidos" FOR EACH ROW WHEN (pg_catalog.record_image_ne(ROW(OLD."id", OLD."tienda_id", OLD."dia"), ROW(NEW."id", NEW."tienda_id", NEW."dia")) AND latido.is_watched(2176)) EXECUTE FUNCTION "latido"."ventas_pedidos_moves_0252da5c"();
DROP TRIGGER IF EXISTS "latido_ventas_0252da5c_ins" ON "public"."pedidos";
DROP TRIGGER IF EXISTS "latido_ventas_0252da5c_del" ON "public"."pedidos";
ALTER TABLE "public"."pedidos" ENABLE ALWAYS TRIGGER "latido_ventas_0252da5c_upd";

COMMIT;
