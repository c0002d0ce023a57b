-- {title}
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql {rights} AS {body};
REVOKE ALL ON FUNCTION {function}() FROM PUBLIC;
COMMENT ON FUNCTION {function}() IS {comment};
