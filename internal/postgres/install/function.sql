-- Stream {stream}, table {table}
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS {body};
REVOKE ALL ON FUNCTION {function}() FROM PUBLIC;
COMMENT ON FUNCTION {function}() IS {comment};
