-- Who may watch what: $1 the user's id, $2 ids of businesses, all as text → those of $2 that this user may watch.
-- The owner of a business (negocios.admin_negocio_id), and of any business a user whose usuarios.rol is admin_sistema.

-- Ids become the type of their column here, so that its index serves; what is no id of that type is nobody's, not an error.
-- Functions, operators and types are those of pg_catalog, so that none in another schema of the search path is taken instead.
WITH tipo AS MATERIALIZED (
  SELECT a.attrelid::pg_catalog.regclass AS tabla,
         CASE WHEN a.atttypid OPERATOR(pg_catalog.=) 'pg_catalog.uuid'::pg_catalog.regtype THEN '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'
              WHEN a.atttypid OPERATOR(pg_catalog.=) 'pg_catalog.int8'::pg_catalog.regtype THEN '^-?([0-9]{1,18}|[1-8][0-9]{18})$'
              WHEN a.atttypid OPERATOR(pg_catalog.=) 'pg_catalog.int4'::pg_catalog.regtype THEN '^-?([0-9]{1,9}|1[0-9]{9})$'
              WHEN a.atttypid OPERATOR(pg_catalog.=) 'pg_catalog.int2'::pg_catalog.regtype THEN '^-?([0-9]{1,4}|[12][0-9]{4})$'
              ELSE ''
         END AS forma
  FROM pg_catalog.pg_attribute a
  WHERE a.attrelid OPERATOR(pg_catalog.=) ANY (ARRAY['usuarios'::pg_catalog.regclass, 'negocios'::pg_catalog.regclass]::pg_catalog.oid[])
    AND a.attname OPERATOR(pg_catalog.=) 'id'
),
usuario AS MATERIALIZED (
  SELECT (pg_catalog.json_populate_record(NULL::usuarios, pg_catalog.json_build_object('id', $1::pg_catalog.text))).id
  FROM tipo
  WHERE tabla OPERATOR(pg_catalog.=) 'usuarios'::pg_catalog.regclass AND $1::pg_catalog.text OPERATOR(pg_catalog.~) forma
),
pedido AS MATERIALIZED (
  SELECT clave, (pg_catalog.json_populate_record(NULL::negocios, pg_catalog.json_build_object('id', clave))).id
  FROM pg_catalog.unnest($2::pg_catalog.text[]) AS clave, tipo
  WHERE tabla OPERATOR(pg_catalog.=) 'negocios'::pg_catalog.regclass AND clave OPERATOR(pg_catalog.~) forma
)
SELECT p.clave
FROM pedido p
JOIN negocios n ON n.id OPERATOR(pg_catalog.=) p.id
JOIN usuario u ON n.admin_negocio_id::pg_catalog.text OPERATOR(pg_catalog.=) u.id::pg_catalog.text
UNION
SELECT p.clave
FROM pedido p, usuario u JOIN usuarios quien ON quien.id OPERATOR(pg_catalog.=) u.id
WHERE quien.rol::pg_catalog.text OPERATOR(pg_catalog.=) 'admin_sistema'
