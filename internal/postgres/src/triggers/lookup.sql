-- The keys of changed rows: {title}. Only its trigger functions call it, which run as its owner.
SET LOCAL search_path TO DEFAULT;
{path}
CREATE OR REPLACE FUNCTION {function}({parameters}) RETURNS TABLE ({columns}) LANGUAGE sql STABLE
BEGIN ATOMIC
  WITH changed AS (SELECT {fields})
  SELECT DISTINCT d.* FROM (SELECT {texts} FROM (
{sql}
  ) AS v ({names})) AS d ({names}) WHERE {present};
END;
SET LOCAL search_path = pg_catalog;
REVOKE ALL ON FUNCTION {function}({types}) FROM PUBLIC;
COMMENT ON FUNCTION {function}({types}) IS {comment};
-- Fails if its owner may not read, or would not see, all that it needs.
SET LOCAL row_security = off;
DO {check};
SET LOCAL row_security TO DEFAULT;
