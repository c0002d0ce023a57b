-- The password of the role of role.sql, from the variable LATIDO_PASSWORD, so that it stands in no file and on no command line:
--
--   LATIDO_PASSWORD=… psql "$OWNERS_URL" -f sql/role.sql -f sql/role_password.sql        (psql 15 or newer)
--
-- Running it again sets it again: that is how it is changed.
\getenv password LATIDO_PASSWORD
\if :{?password}
ALTER ROLE latido PASSWORD :'password';
\else
DO $$ BEGIN RAISE 'LATIDO_PASSWORD is not set'; END $$;
\endif
