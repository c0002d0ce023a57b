-- Who may watch what: $1 the user's id, $2 ids of businesses, all as text → those of $2 that this user may watch.
-- The owner of a business (negocios.admin_negocio_id), and of any business a user whose usuarios.rol is admin_sistema.

-- Ids become the type of their column here, so that its index serves; what is no id of that type is nobody's, not an error.
WITH tipo AS MATERIALIZED (
  SELECT a.attrelid::regclass AS tabla,
         CASE format_type(a.atttypid, NULL)
           WHEN 'uuid'     THEN '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'
           WHEN 'bigint'   THEN '^-?([0-9]{1,18}|[1-8][0-9]{18})$'
           WHEN 'integer'  THEN '^-?([0-9]{1,9}|1[0-9]{9})$'
           WHEN 'smallint' THEN '^-?([0-9]{1,4}|[12][0-9]{4})$'
           ELSE ''
         END AS forma
  FROM pg_attribute a
  WHERE a.attrelid IN ('usuarios'::regclass, 'negocios'::regclass) AND a.attname = 'id'
),
usuario AS MATERIALIZED (
  SELECT (json_populate_record(NULL::usuarios, json_build_object('id', $1::text))).id
  FROM tipo WHERE tabla = 'usuarios'::regclass AND $1::text ~ forma
),
pedido AS MATERIALIZED (
  SELECT clave, (json_populate_record(NULL::negocios, json_build_object('id', clave))).id
  FROM unnest($2::text[]) AS clave, tipo
  WHERE tabla = 'negocios'::regclass AND clave ~ forma
)
SELECT p.clave
FROM pedido p JOIN negocios n ON n.id = p.id JOIN usuario u ON n.admin_negocio_id::text = u.id::text
UNION
SELECT p.clave
FROM pedido p, usuario u JOIN usuarios quien ON quien.id = u.id
WHERE quien.rol::text = 'admin_sistema'
