//! Queries with the answer of each of their tables, written by hand.

/// A query with the answer of each table: the lookups, or `?` and the reason.
pub(super) struct OwnCase {
    pub(super) sql: &'static str,
    pub(super) key_parts: usize,
    pub(super) answers: &'static [(&'static str, &'static str)],
}

const fn case(sql: &'static str, answers: &'static [(&'static str, &'static str)]) -> OwnCase {
    OwnCase {
        sql,
        key_parts: 1,
        answers,
    }
}

const fn pair(sql: &'static str, answers: &'static [(&'static str, &'static str)]) -> OwnCase {
    OwnCase {
        sql,
        key_parts: 2,
        answers,
    }
}

/// Names, partitions, and the forms of the documentation.
pub(super) const FORMS: &[OwnCase] = &[
    case(
        r#"SELECT u.k, s.* FROM unnest($1::text[], $2::date[]) AS u (k, hoy) CROSS JOIN LATERAL (
           SELECT sum(v."select") AS n FROM "Venta" v JOIN "Caja ""ñ""" c ON c."Id" = v."caja Id" WHERE c."Región" = u.k) s"#,
        &[("Caja \"ñ\"", "Región"), ("Venta", "caja Id > Caja \"ñ\".Región")],
    ),
    case(
        r#"SELECT u.k, s.* FROM unnest($1::text[], $2::date[]) AS u (k, hoy) CROSS JOIN LATERAL (
           SELECT sum("d[0].""x""\"."Peso [kg]") AS "sum[""kg]""", count(*) AS "[" FROM "Envío [""x""]" "d[0].""x""\"
           WHERE "d[0].""x""\"."[re""gión]" = u.k) s"#,
        &[("Envío [\"x\"]", "[re\"gión]")],
    ),
    case(
        "SELECT s.planta_id, max(m.valor), count(n.valor) FROM sensores s LEFT JOIN medidas m ON m.sensor_id = s.id
         LEFT JOIN medidas_2 n ON n.sensor_id = s.id WHERE s.planta_id = ANY($1::int[]) AND $2::date[] IS NOT NULL GROUP BY 1",
        &[
            ("medidas", "sensor_id > sensores.planta_id"),
            ("medidas_2", "sensor_id > sensores.planta_id"),
            ("sensores", "planta_id"),
        ],
    ),
    case(
        "SELECT u.k, s.* FROM unnest($1::int[], $2::date[]) AS u (k, hoy) LEFT JOIN LATERAL (
         SELECT sum(e.peso) AS n FROM envios e JOIN bodegas b ON b.id = e.destino_id WHERE b.region_id = u.k) s ON true",
        &[("bodegas", "region_id"), ("envios", "destino_id > bodegas.region_id")],
    ),
    case(
        "SELECT u.k, s.* FROM unnest($1::int[], $2::date[]) AS u (k, hoy) CROSS JOIN LATERAL (
         SELECT sum(e.peso) AS n FROM envios e JOIN bodegas a ON a.id = e.origen_id JOIN bodegas b ON b.id = e.destino_id
         WHERE a.region_id = u.k OR b.region_id = u.k) s",
        &[
            ("bodegas", "region_id + id > envios.destino_id > bodegas.region_id + id > envios.origen_id > bodegas.region_id"),
            ("envios", "origen_id > bodegas.region_id + destino_id > bodegas.region_id"),
        ],
    ),
    pair(
        "SELECT u.tienda, u.caja, u.desde, u.hasta, s.*
         FROM unnest($1::bigint[], $2::text[], $3::date[], $4::date[], $5::date[]) AS u (tienda, caja, hoy, desde, hasta)
         CROSS JOIN LATERAL (SELECT coalesce(sum(l.cantidad), 0) AS importe FROM pedidos p JOIN lineas l ON l.pedido_id = p.id
         WHERE p.tienda_id = u.tienda AND p.caja = u.caja AND p.dia BETWEEN u.desde AND u.hasta) s",
        &[("lineas", "pedido_id > pedidos.tienda_id, caja"), ("pedidos", "tienda_id, caja")],
    ),
    case(
        "WITH ks AS (SELECT * FROM unnest($1::int[], $2::date[]) AS u (k, hoy)),
         sumas AS (SELECT ks.k, sum(p.total) AS n FROM ks JOIN pedidos p ON p.tienda_id = ks.k GROUP BY ks.k)
         SELECT ks.k, sumas.n FROM ks LEFT JOIN sumas ON sumas.k = ks.k",
        &[("pedidos", "tienda_id")],
    ),
    case(
        "SELECT tienda_id, sum(cantidad) FROM (SELECT id AS pedido_id, tienda_id FROM pedidos) p JOIN lineas USING (pedido_id)
         JOIN productos USING (producto) WHERE tienda_id = ANY($1::bigint[]) AND categoria > 'c' AND $2::date[] IS NOT NULL GROUP BY 1",
        &[
            ("lineas", "pedido_id > pedidos.tienda_id"),
            ("pedidos", "tienda_id"),
            ("productos", "producto > lineas.pedido_id > pedidos.tienda_id"),
        ],
    ),
    case(
        "SELECT t.id, t.zona, v.total FROM tiendas t LEFT JOIN v_mejor v ON v.tienda_id = t.id WHERE t.id = ANY($1::bigint[]) AND $2::date[] IS NOT NULL",
        &[("pedidos", "tienda_id"), ("tiendas", "id")],
    ),
    case(
        "SELECT u.k, a.total, b.total FROM unnest($1::bigint[], $2::date[]) u (k, hoy) LEFT JOIN v_pedidos a ON a.tienda = u.k
         LEFT JOIN v_pedidos b ON b.id = a.id",
        &[("pedidos", "tienda_id + id > pedidos.tienda_id")],
    ),
    case(
        "SELECT u.d, count(p.id) FROM unnest($1::date[], $2::date[]) u (d, hoy) LEFT JOIN pedidos p ON p.dia = u.d GROUP BY 1",
        &[("pedidos", "dia")],
    ),
    case(
        "SELECT t.k, t.n FROM (SELECT u.k, p.total AS n FROM unnest($1::bigint[], $2::date[]) u (k, hoy) JOIN pedidos p ON p.tienda_id = u.k
         UNION SELECT 0, 0) t",
        &[("pedidos", "? Key(NotTheKey { part: 1, output: \"k\" })")],
    ),
];

/// Sub-selects in conditions.
pub(super) const LINKS: &[OwnCase] = &[
    case(
        "SELECT u.k, (SELECT count(*) FROM pedidos p WHERE p.tienda_id = u.k AND EXISTS (SELECT FROM lineas l WHERE l.pedido_id = p.id LIMIT 1)
         AND NOT EXISTS (SELECT FROM avisos a WHERE a.pedido_id = p.id)) FROM unnest($1::bigint[], $2::date[]) u (k, hoy)",
        &[
            ("avisos", "pedido_id > pedidos.tienda_id"),
            ("lineas", "pedido_id > pedidos.tienda_id"),
            ("pedidos", "tienda_id"),
        ],
    ),
    case(
        "SELECT u.k, (SELECT count(*) FROM avisos a WHERE a.pedido_id IN (SELECT p.id FROM pedidos p WHERE p.tienda_id = u.k))
         FROM unnest($1::bigint[], $2::date[]) u (k, hoy)",
        &[("avisos", "pedido_id > pedidos.tienda_id"), ("pedidos", "tienda_id")],
    ),
    // A row of a shop that has no order with its number still counts through the other arm.
    case(
        "SELECT u.k, (SELECT count(*) FROM avisos a WHERE a.pedido_id IN (
         SELECT p.id FROM pedidos p WHERE p.tienda_id = u.k UNION SELECT l.pedido_id FROM lineas l WHERE l.producto = u.k))
         FROM unnest($1::bigint[], $2::date[]) u (k, hoy)",
        &[("avisos", "? NoPath"), ("lineas", "producto"), ("pedidos", "tienda_id")],
    ),
    // Without any order the maximum is 1, and the row still counts.
    case(
        "SELECT u.k, (SELECT count(*) FROM avisos a WHERE a.nivel IN (SELECT coalesce(max(p.total), 1) FROM pedidos p WHERE p.id = a.pedido_id
         AND p.tienda_id = u.k)) FROM unnest($1::bigint[], $2::date[]) u (k, hoy)",
        &[("avisos", "? NoPath"), ("pedidos", "tienda_id")],
    ),
    case(
        "SELECT u.k, (SELECT count(*) FROM avisos a WHERE EXISTS (SELECT FROM pedidos p WHERE p.id = a.pedido_id AND p.tienda_id = u.k HAVING true))
         FROM unnest($1::bigint[], $2::date[]) u (k, hoy)",
        &[("avisos", "? NoPath"), ("pedidos", "tienda_id")],
    ),
    // The largest order of all decides which one is compared.
    case(
        "SELECT p.tienda_id, count(*) FROM pedidos p WHERE p.tienda_id = ANY($1::bigint[]) AND $2::date[] IS NOT NULL
         AND p.id IN (SELECT l.pedido_id FROM lineas l ORDER BY l.cantidad DESC, l.pedido_id LIMIT 3) GROUP BY 1",
        &[("lineas", "? NoPath"), ("pedidos", "tienda_id")],
    ),
    case(
        "SELECT p.tienda_id, count(*) FROM pedidos p WHERE p.tienda_id = ANY($1::bigint[]) AND $2::date[] IS NOT NULL
         AND p.id NOT IN (SELECT l.pedido_id FROM lineas l) GROUP BY 1",
        &[("lineas", "? NoPath"), ("pedidos", "tienda_id")],
    ),
];

/// Clauses at which a proof stops.
pub(super) const BOUNDARIES: &[OwnCase] = &[
    case(
        "SELECT v.tienda, v.puesto FROM v_ranking v JOIN unnest($1::bigint[], $2::date[]) u (k, hoy) ON v.tienda = u.k",
        &[("pedidos", "? Boundary(Window)")],
    ),
    case(
        "SELECT u.k, s.total FROM unnest($1::bigint[], $2::date[]) u (k, hoy) LEFT JOIN (
         SELECT tienda_id, total FROM pedidos UNION ALL SELECT id, 0 FROM tiendas ORDER BY 2 DESC LIMIT 5) s ON s.tienda_id = u.k",
        &[("pedidos", "? Boundary(Limit)"), ("tiendas", "? Boundary(Limit)")],
    ),
    case(
        "SELECT u.k, s.total FROM unnest($1::bigint[], $2::date[]) u (k, hoy) LEFT JOIN (
         SELECT tienda_id, total FROM pedidos EXCEPT SELECT t.id, 1 FROM tiendas t) s ON s.tienda_id = u.k",
        &[("pedidos", "tienda_id"), ("tiendas", "id")],
    ),
    case(
        "SELECT u.k, s.n FROM unnest($1::bigint[], $2::date[]) u (k, hoy) LEFT JOIN (
         SELECT max(tienda_id) AS m, caja, count(*) AS n FROM pedidos GROUP BY caja) s ON s.m = u.k",
        &[("pedidos", "? NoPath")],
    ),
    case(
        "SELECT u.k, count(p.id), count(a.nivel) FROM unnest($1::bigint[], $2::date[]) u (k, hoy) LEFT JOIN (
         pedidos p FULL JOIN avisos a ON a.pedido_id = p.id) ON p.tienda_id = u.k GROUP BY 1",
        &[("avisos", "? NoPath"), ("pedidos", "? NoPath")],
    ),
    case(
        "SELECT u.k, (WITH RECURSIVE r AS (SELECT id FROM pedidos WHERE tienda_id = u.k UNION SELECT p.id FROM pedidos p JOIN r ON p.madre = r.id)
         SELECT count(*) FROM r) FROM unnest($1::bigint[], $2::date[]) u (k, hoy)",
        &[("pedidos", "? Recursive")],
    ),
    // The condition needs a row of `t`, whose number in its query is that of `a` in the inner one.
    case(
        "SELECT u.k, s.n FROM unnest($1::int[], $2::date[]) u (k, hoy) CROSS JOIN tiendas t CROSS JOIN LATERAL (
         SELECT count(*) AS n FROM pedidos p LEFT JOIN avisos a ON a.pedido_id = p.id AND a.nivel = u.k WHERE p.tienda_id = t.id) s",
        &[
            ("avisos", "nivel"),
            ("pedidos", "? NoPath"),
            ("tiendas", "? NoPath"),
        ],
    ),
    // The days of a moment depend on the time zone of the session that writes.
    case(
        "SELECT u.k, count(*) FROM unnest($1::bigint[], $2::date[]) u (k, hoy) JOIN pedidos p ON p.tienda_id = u.k
         JOIN pedidos q ON q.creado = p.dia GROUP BY 1",
        &[("pedidos", "? NoPath")],
    ),
    case(
        "SELECT u.k, count(t.id) FROM unnest($1::date[], $2::date[]) u (k, hoy) LEFT JOIN tiendas t ON t.abierta_en = u.k GROUP BY 1",
        &[("tiendas", "abierta_en")],
    ),
    case(
        "SELECT u.k, f_lineas(u.k), count(l.producto) FROM unnest($1::bigint[], $2::date[]) u (k, hoy) LEFT JOIN lineas l ON l.pedido_id = u.k GROUP BY 1",
        &[("lineas", "? InFunction")],
    ),
    case(
        "SELECT u.k, f_oculta(u.k), count(p.id) FROM unnest($1::bigint[], $2::date[]) u (k, hoy) LEFT JOIN pedidos p ON p.tienda_id = u.k GROUP BY 1",
        &[("pedidos", "tienda_id")],
    ),
    case(
        "SELECT p.tienda_id, count(*) FROM pedidos p TABLESAMPLE system (50) WHERE p.tienda_id = ANY($1::bigint[]) AND $2::date[] IS NOT NULL GROUP BY 1",
        &[("pedidos", "? Sampled")],
    ),
    // An order and its lines are deleted by one statement, and the key needs both.
    pair(
        "SELECT u.k, u.c, count(*) FROM unnest($1::bigint[], $2::int[], $3::date[]) u (k, c, hoy) JOIN pedidos p ON p.tienda_id = u.k
         JOIN lineas l ON l.pedido_id = p.id AND l.producto = u.c GROUP BY 1, 2",
        &[("lineas", "? ChangedTogether"), ("pedidos", "? ChangedTogether")],
    ),
    pair(
        "SELECT u.k, u.c, count(*) FROM unnest($1::bigint[], $2::int[], $3::date[]) u (k, c, hoy) JOIN pedidos p ON p.tienda_id = u.k
         JOIN avisos a ON a.pedido_id = p.id AND a.nivel = u.c GROUP BY 1, 2",
        &[("avisos", "pedido_id > pedidos.tienda_id, nivel"), ("pedidos", "id > avisos.tienda_id, nivel")],
    ),
    pair(
        "SELECT u.k, u.c, count(*) FROM unnest($1::bigint[], $2::bigint[], $3::date[]) u (k, c, hoy) JOIN pedidos p ON p.tienda_id = u.k
         JOIN pedidos q ON q.dia = p.dia AND q.tienda_id = u.c GROUP BY 1, 2",
        &[("pedidos", "? ChangedTogether")],
    ),
];

/// Types whose equality is not the one of their text.
pub(super) const TYPES: &[OwnCase] = &[
    case(
        "SELECT u.k, count(*) FROM unnest($1::citext[], $2::date[]) u (k, hoy) JOIN usuarios s ON s.correo = u.k JOIN accesos a ON a.de = s.correo GROUP BY 1",
        &[("accesos", "de"), ("usuarios", "correo")],
    ),
    case(
        "SELECT s.nombre, sum(a.veces) FROM usuarios s JOIN accesos a ON a.de = s.correo WHERE s.nombre = ANY($1::text[]) AND $2::date[] IS NOT NULL GROUP BY 1",
        &[("accesos", "de > usuarios.nombre"), ("usuarios", "nombre")],
    ),
    // Names in any case are equal, but a lookup by `=` would compare the texts.
    case(
        "SELECT s.nombre, sum(a.veces) FROM usuarios s JOIN (SELECT texto::citext AS t, veces FROM accesos) a ON a.t = s.alias
         WHERE s.nombre = ANY($1::text[]) AND $2::date[] IS NOT NULL GROUP BY 1",
        &[("accesos", "? NoPath"), ("usuarios", "nombre")],
    ),
];
