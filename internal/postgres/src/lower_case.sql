-- The characters that lower() changes in the default collation of the database, by which citext compares, and what becomes of them: NULL if
-- that depends on the characters around them. Another encoding gives no row, because chr() has other numbers there.
SELECT c.upper,
  CASE WHEN pg_catalog.lower(c.lower COLLATE pg_catalog."default") OPERATOR(pg_catalog.=) c.lower AND NOT EXISTS (
    SELECT FROM pg_catalog.unnest('{"",a}'::pg_catalog.text[]) AS b (before),
                pg_catalog.unnest(ARRAY['', 'a', pg_catalog.chr(768), pg_catalog.chr(775)]) AS a (after)
    WHERE pg_catalog.lower((b.before OPERATOR(pg_catalog.||) c.upper OPERATOR(pg_catalog.||) a.after) COLLATE pg_catalog."default")
      OPERATOR(pg_catalog.<>) (b.before OPERATOR(pg_catalog.||) c.lower OPERATOR(pg_catalog.||) a.after)
  ) THEN c.lower END
FROM (
  SELECT u.upper, pg_catalog.lower(u.upper COLLATE pg_catalog."default")
  FROM (
    SELECT pg_catalog.chr(n.number)
    FROM pg_catalog.generate_series(1, CASE WHEN pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.=) 'UTF8' THEN 131071 ELSE 0 END) AS n (number)
    WHERE n.number OPERATOR(pg_catalog.<) 55296 OR n.number OPERATOR(pg_catalog.>) 57343
  ) AS u (upper)
) AS c (upper, lower)
WHERE c.upper COLLATE pg_catalog."C" OPERATOR(pg_catalog.<>) c.lower COLLATE pg_catalog."C"
