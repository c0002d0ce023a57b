-- What all triggers of latido share. Only the functions here call it, and they run as its owner.
CREATE SCHEMA IF NOT EXISTS {schema};
COMMENT ON SCHEMA {schema} IS {schema_comment};
CREATE OR REPLACE FUNCTION {schema}.changed(latido_stream text, latido_keys text[]) RETURNS void LANGUAGE plpgsql AS {body};
REVOKE ALL ON FUNCTION {schema}.changed(text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION {schema}.changed(text, text[]) IS {comment};
