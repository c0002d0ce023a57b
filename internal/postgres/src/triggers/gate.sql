-- The condition of triggers that cannot tell keys from rows alone. A condition runs as the writer, so everybody may call this. It runs as its owner,
-- and fails no write.
CREATE OR REPLACE FUNCTION {schema}.{function}(latido_first_lock pg_catalog.int4) RETURNS pg_catalog.bool LANGUAGE plpgsql SECURITY DEFINER AS {body};
GRANT EXECUTE ON FUNCTION {schema}.{function}(pg_catalog.int4) TO PUBLIC;
COMMENT ON FUNCTION {schema}.{function}(pg_catalog.int4) IS {comment};
