-- What all triggers of latido share. Only the functions here call it, and they run as its owner.
CREATE SCHEMA IF NOT EXISTS {schema};
COMMENT ON SCHEMA {schema} IS {schema_comment};
CREATE OR REPLACE FUNCTION {schema}.payloads(latido_stream text, latido_keys text[]) RETURNS text[] LANGUAGE plpgsql AS {body};
REVOKE ALL ON FUNCTION {schema}.payloads(text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION {schema}.payloads(text, text[]) IS {comment};
