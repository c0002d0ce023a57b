-- What all triggers of latido share. Only the functions here call it, and they run as its owner.
CREATE SCHEMA IF NOT EXISTS latido;
COMMENT ON SCHEMA latido IS {schema_comment};
CREATE OR REPLACE FUNCTION latido.changed(latido_stream text, latido_keys text[]) RETURNS void LANGUAGE plpgsql AS {body};
REVOKE ALL ON FUNCTION latido.changed(text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION latido.changed(text, text[]) IS {comment};
