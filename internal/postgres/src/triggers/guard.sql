
DECLARE
  found text := pg_catalog.array_to_string(ARRAY(
{foreign_objects}
  ), '; ');
BEGIN
  IF found <> '' THEN
    RAISE EXCEPTION USING ERRCODE = '{code}', MESSAGE = found;
  END IF;
END
