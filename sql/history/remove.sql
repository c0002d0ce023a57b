-- Takes away what install.sql made: the schema, and the triggers that call its functions. Citas are not touched. First let the server have
-- its own query again (latido.toml); one that still asks this one goes on with its `check`, and says so.
--
--   psql "$OWNERS_URL" -v ON_ERROR_STOP=1 -f sql/history/remove.sql
BEGIN;
SET LOCAL client_min_messages = warning;
-- It must have citas for itself for a moment; whoever waits behind it waits no longer than this.
SET LOCAL lock_timeout = '800ms';
DROP SCHEMA IF EXISTS latido_history CASCADE;
COMMIT;
