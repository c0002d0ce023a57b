-- Closed days keep the reads of businesses with a long history fast. docs/guides/closed-days.md says when and how to use them.
--
--   psql "$OWNERS_URL" -v ON_ERROR_STOP=1 -f sql/history/install.sql
--   psql "$OWNERS_URL" -c "CALL latido_history.close_before(current_date - 7)"        and then every night
--
-- Run it as the owner of citas. Running it again replaces the functions and changes nothing else; remove.sql takes all of it away.
-- Functions, operators and types are those of pg_catalog, named so or by a pinned search path. Only citas is found by the owner's own path.
-- All is in a schema of its own, so that `latido install` and `latido uninstall` have nothing to do with it.
BEGIN;
SET LOCAL client_min_messages = warning;

DO $latido$
DECLARE
  it CONSTANT pg_catalog.regclass := pg_catalog.to_regclass('citas');
  of_day pg_catalog.text;
  of_state pg_catalog.text;
BEGIN
  -- One at a time: this script, who closes, who folds.
  PERFORM pg_catalog.pg_advisory_xact_lock(7233748251342);
  IF it IS NULL THEN
    RAISE EXCEPTION 'there is no table citas in the search path (%)', pg_catalog.current_setting('search_path');
  END IF;
  -- Everything below belongs to pg_catalog.
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  IF (SELECT relkind <> 'r' OR relispartition FROM pg_class WHERE oid = it)
     OR EXISTS (SELECT FROM pg_inherits WHERE it IN (inhparent, inhrelid)) THEN
    RAISE EXCEPTION 'citas must be one plain table: whole partitions come and go, and no trigger tells of it';
  END IF;
  IF (SELECT relrowsecurity FROM pg_class WHERE oid = it) THEN
    RAISE EXCEPTION 'citas has row security: a reader who may not see all rows would still get their sum';
  END IF;
  SELECT format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL) INTO of_day
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = it AND a.attname = 'fecha' AND NOT a.attisdropped;
  -- Of other types equality might not be the same with another search path.
  SELECT CASE WHEN b.typtype = 'e' OR b.typname IN ('text', 'varchar', 'bpchar') THEN 'known' ELSE b.typname END INTO of_state
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_type b ON b.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
   WHERE a.attrelid = it AND a.attname = 'estado' AND NOT a.attisdropped;
  IF of_day IS DISTINCT FROM 'date' OR of_state IS DISTINCT FROM 'known' THEN
    RAISE EXCEPTION 'expected citas.fecha as date and citas.estado as an enum or text; found % and %', of_day, of_state;
  END IF;
  -- The tables of the schema are made from this one.
  PERFORM set_config('latido_history.citas', format('%I.%I', n.nspname, c.relname), true)
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = it;
END
$latido$;

CREATE SCHEMA IF NOT EXISTS latido_history;
COMMENT ON SCHEMA latido_history IS 'Closed days of citas, so that live statistics need not count them again: sql/history of Latido';

-- Days before live_from are in the summary; of days before announced the triggers tell. The latter is never the earlier one.
CREATE TABLE IF NOT EXISTS latido_history.cut (
  only_row  bool     PRIMARY KEY DEFAULT true CHECK (only_row),
  citas     regclass NOT NULL,
  live_from date     NOT NULL DEFAULT '-infinity',
  announced date     NOT NULL DEFAULT '-infinity' CHECK (announced >= live_from)
);
INSERT INTO latido_history.cut (citas) VALUES (current_setting('latido_history.citas')::regclass) ON CONFLICT DO NOTHING;

DO $latido$
BEGIN
  -- The citas of closed days of each business; none has no row. Made from the table, so that the key has its type.
  EXECUTE format($sql$CREATE TABLE IF NOT EXISTS latido_history.closed AS
    SELECT negocio_id, 0::bigint AS total, 0::bigint AS completadas, 0::bigint AS canceladas FROM %s WITH NO DATA
  $sql$, current_setting('latido_history.citas'));
  -- What changed in closed days since they were summed up. Rows are only ever added by writers: who updated a sum would hold up all
  -- others of the same business until his COMMIT, and two of them could meet in a deadlock.
  EXECUTE format($sql$CREATE TABLE IF NOT EXISTS latido_history.deltas AS
    SELECT negocio_id, fecha, 0::bigint AS total, 0::bigint AS completadas, 0::bigint AS canceladas FROM %s WITH NO DATA
  $sql$, current_setting('latido_history.citas'));
END
$latido$;
CREATE UNIQUE INDEX IF NOT EXISTS closed_negocio ON latido_history.closed (negocio_id);
CREATE INDEX IF NOT EXISTS deltas_negocio ON latido_history.deltas (negocio_id);
-- What is folded leaves dead rows, which readers have to pass until they are swept.
ALTER TABLE latido_history.deltas SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- For rows of announced days; its argument is the first day that is not.
CREATE OR REPLACE FUNCTION latido_history.note() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $latido$
BEGIN
  INSERT INTO latido_history.deltas (negocio_id, fecha, total, completadas, canceladas)
  SELECT s.negocio_id, s.fecha, sum(s.side), sum(s.side) FILTER (WHERE s.estado = 'atendida'), sum(s.side) FILTER (WHERE s.estado = 'cancelada')
    FROM (VALUES (OLD.negocio_id, OLD.fecha, OLD.estado, -1), (NEW.negocio_id, NEW.fecha, NEW.estado, 1)) AS s (negocio_id, fecha, estado, side)
   WHERE s.fecha < TG_ARGV[0]::date AND s.negocio_id IS NOT NULL
   GROUP BY s.negocio_id, s.fecha HAVING sum(s.side) <> 0 OR bool_or(s.estado IN ('atendida', 'cancelada'));
  RETURN NULL;
END
$latido$;

-- Nobody else writes citas while it is truncated, so what is there now is all there is.
CREATE OR REPLACE FUNCTION latido_history.emptied() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $latido$
BEGIN
  IF current_setting('transaction_isolation') = 'read committed' THEN
    DELETE FROM latido_history.closed;
    DELETE FROM latido_history.deltas;
  ELSE
    -- This transaction may not see all of it. Not always: readers in the middle of a statement would be in the way, and it in theirs.
    TRUNCATE latido_history.closed, latido_history.deltas;
  END IF;
  RETURN NULL;
END
$latido$;

-- One at a time who closes, folds or opens. Each of his statements must see what was there when he got his locks.
CREATE OR REPLACE FUNCTION latido_history.alone() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $latido$
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'expected a transaction that is READ COMMITTED, not %', current_setting('transaction_isolation');
  END IF;
  PERFORM pg_advisory_xact_lock(7233748251342);
END
$latido$;

-- From this transaction's end on every change of days before that one is told of. The lock waits for writers under way, who don't tell of
-- those days yet, and new ones wait for it: whoever ends after us tells. What a replica applies and what a restore loads counts, too.
-- With an earlier day than before nobody would tell of the days between, so all days are live again.
CREATE OR REPLACE FUNCTION latido_history.announce(day date) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD' AS $latido$
DECLARE
  it latido_history.cut;
BEGIN
  PERFORM latido_history.alone();
  SELECT * INTO STRICT it FROM latido_history.cut;
  EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', it.citas);
  IF day < it.announced THEN
    DELETE FROM latido_history.closed;
    DELETE FROM latido_history.deltas;
    UPDATE latido_history.cut SET live_from = '-infinity';
  END IF;
  UPDATE latido_history.cut SET announced = day;
  EXECUTE format($sql$
    CREATE OR REPLACE TRIGGER latido_history_ins AFTER INSERT ON %1$s FOR EACH ROW
      WHEN (NEW.fecha < %2$L) EXECUTE FUNCTION latido_history.note(%2$L);
    CREATE OR REPLACE TRIGGER latido_history_del AFTER DELETE ON %1$s FOR EACH ROW
      WHEN (OLD.fecha < %2$L) EXECUTE FUNCTION latido_history.note(%2$L);
    CREATE OR REPLACE TRIGGER latido_history_upd AFTER UPDATE ON %1$s FOR EACH ROW
      WHEN ((OLD.fecha < %2$L OR NEW.fecha < %2$L)
            AND (OLD.negocio_id, OLD.fecha, OLD.estado) IS DISTINCT FROM (NEW.negocio_id, NEW.fecha, NEW.estado))
      EXECUTE FUNCTION latido_history.note(%2$L);
    CREATE OR REPLACE TRIGGER latido_history_tru AFTER TRUNCATE ON %1$s FOR EACH STATEMENT EXECUTE FUNCTION latido_history.emptied();
    ALTER TABLE ONLY %1$s ENABLE ALWAYS TRIGGER latido_history_ins, ENABLE ALWAYS TRIGGER latido_history_del,
      ENABLE ALWAYS TRIGGER latido_history_upd, ENABLE ALWAYS TRIGGER latido_history_tru
  $sql$, it.citas, day);
END
$latido$;

-- Takes the announced days into the summary, and the deltas of closed ones; all that one snapshot sees, and nothing else. What a transaction
-- did that the snapshot does not see stays in its deltas, for it began to write after the days were announced. Nobody waits for this, readers
-- and writers least. Returns how many deltas went.
-- Row security that would hide rows from its owner makes it fail, rather than count fewer.
CREATE OR REPLACE FUNCTION latido_history.fold() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off AS $latido$
DECLARE
  it latido_history.cut;
  folded bigint;
BEGIN
  PERFORM latido_history.alone();
  SELECT * INTO STRICT it FROM latido_history.cut;
  IF it.announced > '-infinity' AND 4 <> (SELECT count(*) FROM pg_trigger WHERE tgrelid = it.citas AND tgenabled = 'A'
       AND tgfoid IN ('latido_history.note()'::regprocedure, 'latido_history.emptied()'::regprocedure)) THEN
    RAISE EXCEPTION 'the triggers of closed days are gone or disabled: what was changed meanwhile nobody knows'
      USING HINT = 'SELECT latido_history.reopen(), then close the days anew.';
  END IF;
  -- Before the snapshot, for a TRUNCATE shows through older ones.
  EXECUTE format('LOCK TABLE %s IN ACCESS SHARE MODE', it.citas);
  EXECUTE format($sql$
    WITH gone AS (
      DELETE FROM latido_history.deltas WHERE fecha < $2 RETURNING negocio_id, fecha, total, completadas, canceladas
    ), parts AS (
      SELECT negocio_id, count(*) AS total, count(*) FILTER (WHERE estado = 'atendida') AS completadas,
             count(*) FILTER (WHERE estado = 'cancelada') AS canceladas
        FROM %s WHERE $1 < $2 AND fecha >= $1 AND fecha < $2 AND negocio_id IS NOT NULL GROUP BY negocio_id
      UNION ALL
      -- Those of the days that close now are in the count already.
      SELECT negocio_id, total, completadas, canceladas FROM gone WHERE fecha < $1
    ), summed AS (
      INSERT INTO latido_history.closed AS c (negocio_id, total, completadas, canceladas)
      SELECT negocio_id, sum(total), coalesce(sum(completadas), 0), coalesce(sum(canceladas), 0) FROM parts GROUP BY negocio_id
      ON CONFLICT (negocio_id) DO UPDATE SET total = c.total + excluded.total, completadas = c.completadas + excluded.completadas,
                                             canceladas = c.canceladas + excluded.canceladas
    ), moved AS (
      UPDATE latido_history.cut SET live_from = $2 WHERE live_from < $2
    )
    SELECT count(*) FROM gone
  $sql$, it.citas) INTO folded USING it.live_from, it.announced;
  DELETE FROM latido_history.closed WHERE total = 0 AND completadas = 0 AND canceladas = 0;
  RETURN folded;
END
$latido$;

-- Closes all days before that one: changes of them stay right, and cost their writers a row more. Two transactions, so it cannot be called
-- within one. Writers wait for it 0.4 s at most, time and again until `patience` is over; then it fails, and nothing has changed.
-- A day that is closed already is no error: what was announced is folded.
-- A procedure with a pinned search path may not COMMIT, so its names are qualified.
CREATE OR REPLACE PROCEDURE latido_history.close_before(day date, patience interval DEFAULT '30 s') LANGUAGE plpgsql AS $latido$
DECLARE
  until CONSTANT pg_catalog.timestamptz := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) patience;
BEGIN
  -- A day more, for whoever is east of the server. Days that are still written would only make their writers slower.
  IF day IS NULL OR day OPERATOR(pg_catalog.>) (current_date OPERATOR(pg_catalog.+) 1) THEN
    RAISE EXCEPTION 'expected a day that is over, or today: all before it is closed; got %', day;
  END IF;
  LOOP
    PERFORM pg_catalog.set_config('lock_timeout', '400ms', true);
    BEGIN
      PERFORM latido_history.alone();
      EXIT WHEN day OPERATOR(pg_catalog.<=) (SELECT announced FROM latido_history.cut);
      PERFORM latido_history.announce(day);
      EXIT;
    EXCEPTION WHEN lock_not_available THEN
      IF pg_catalog.clock_timestamp() OPERATOR(pg_catalog.>) until THEN
        RAISE EXCEPTION 'citas is being written, vacuumed or changed by somebody who takes longer than %: try again later', patience
          USING ERRCODE = 'lock_not_available';
      END IF;
    END;
    COMMIT;
    PERFORM pg_catalog.pg_sleep(0.2 OPERATOR(pg_catalog.+) (pg_catalog.random() OPERATOR(pg_catalog.*) 0.4));
  END LOOP;
  COMMIT;
  PERFORM latido_history.fold();
  COMMIT;
END
$latido$;

-- All days are live again, as after this script's first run: to close fewer of them, or after somebody wrote past the triggers.
CREATE OR REPLACE FUNCTION latido_history.reopen() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '800ms' AS $latido$
BEGIN
  PERFORM latido_history.announce('-infinity');
END
$latido$;

REVOKE ALL ON ALL ROUTINES IN SCHEMA latido_history FROM PUBLIC;

-- Whoever serves reads these three; the role of sql/role.sql, if it is there. For another one run the same three lines.
DO $latido$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'latido') THEN
    GRANT USAGE ON SCHEMA latido_history TO latido;
    GRANT SELECT (live_from) ON latido_history.cut TO latido;
    GRANT SELECT ON latido_history.closed, latido_history.deltas TO latido;
  END IF;
END
$latido$;
COMMIT;
