//! A shop: branches with tills, orders with lines, and transfers between branches.

use serde_json::json;

use crate::harness::{OTHER_USER, TestApp, claims};

pub(super) const SCHEMA: &str = "
    CREATE TABLE tiendas (id bigint PRIMARY KEY, nombre text);
    CREATE TABLE pedidos (id bigserial PRIMARY KEY, tienda_id bigint, caja text, dia date, total bigint NOT NULL DEFAULT 0);
    CREATE INDEX ON pedidos (tienda_id, caja);
    CREATE TABLE lineas (id bigserial PRIMARY KEY, cantidad bigint NOT NULL, precio bigint NOT NULL,
        pedido_id bigint REFERENCES pedidos ON DELETE CASCADE ON UPDATE CASCADE);
    CREATE INDEX ON lineas (pedido_id);
    CREATE TABLE traspasos (id bigserial PRIMARY KEY, origen_id bigint, destino_id bigint, importe bigint NOT NULL);
    INSERT INTO tiendas SELECT n, 'tienda ' || n FROM generate_series(1, 9) AS n";

/// The query of each stream. `$` parameters are as the contract of streams orders them.
pub(super) const QUERIES: [(&str, &str); 5] = [
    (
        "cajas",
        "SELECT u.tienda, u.caja, s.total, s.pedidos
         FROM unnest($1::bigint[], $2::text[], $3::date[]) AS u (tienda, caja, hoy)
         CROSS JOIN LATERAL (SELECT coalesce(sum(p.total), 0)::bigint AS total, count(*) AS pedidos
                             FROM pedidos p WHERE p.tienda_id = u.tienda AND p.caja = u.caja) s",
    ),
    (
        "totales",
        "SELECT s.* FROM unnest($1::date[]) AS u (hoy)
         CROSS JOIN LATERAL (SELECT count(*) AS pedidos, coalesce(sum(p.total), 0)::bigint AS total FROM pedidos p) s",
    ),
    (
        "traspasos",
        "SELECT u.id, s.* FROM unnest($1::bigint[], $2::date[]) AS u (id, hoy)
         CROSS JOIN LATERAL (
             SELECT coalesce(sum(CASE WHEN t.destino_id = u.id THEN t.importe ELSE 0 END
                               - CASE WHEN t.origen_id = u.id THEN t.importe ELSE 0 END), 0)::bigint AS saldo
             FROM traspasos t WHERE t.origen_id = u.id OR t.destino_id = u.id) s",
    ),
    (
        "rangos",
        "SELECT u.id, u.desde, u.hasta, s.* FROM unnest($1::bigint[], $2::date[], $3::date[], $4::date[]) AS u (id, hoy, desde, hasta)
         CROSS JOIN LATERAL (SELECT coalesce(sum(p.total), 0)::bigint AS total
                             FROM pedidos p WHERE p.tienda_id = u.id AND p.dia BETWEEN u.desde AND u.hasta) s",
    ),
    (
        "unidades",
        "SELECT u.id, s.* FROM unnest($1::bigint[], $2::date[]) AS u (id, hoy)
         CROSS JOIN LATERAL (SELECT coalesce(sum(l.cantidad), 0)::bigint AS unidades, coalesce(sum(l.cantidad * l.precio), 0)::bigint AS importe
                             FROM pedidos p JOIN lineas l ON l.pedido_id = p.id WHERE p.tienda_id = u.id) s",
    ),
];

/// The settings of each stream behind its query.
const SETTINGS: [(&str, &str); 5] = [
    (
        "cajas",
        r#"keys = ["tienda_id", "caja"]
        [[streams.cajas.tables]]
        table = "pedidos"
        key = ["tienda_id", "caja"]
        columns = ["tienda_id", "caja", "total"]"#,
    ),
    (
        "totales",
        r#"keys = []
        [[streams.totales.tables]]
        table = "pedidos"
        columns = ["total"]"#,
    ),
    (
        "traspasos",
        r#"key_field = "tienda_id"
        [[streams.traspasos.tables]]
        table = "traspasos"
        key = "origen_id"
        [[streams.traspasos.tables]]
        table = "traspasos"
        key = "destino_id""#,
    ),
    (
        "rangos",
        r#"keys = ["tienda_id"]
        [streams.rangos.params]
        desde = { type = "date" }
        hasta = { type = "date", default = "2099-12-31" }
        [[streams.rangos.tables]]
        table = "pedidos"
        key = "tienda_id"
        columns = ["tienda_id", "dia", "total"]"#,
    ),
    (
        "unidades",
        r#"keys = ["tienda_id"]
        [[streams.unidades.tables]]
        table = "pedidos"
        key = "tienda_id"
        columns = ["id", "tienda_id"]
        [[streams.unidades.tables]]
        table = "lineas"
        via = "SELECT p.tienda_id FROM changed c JOIN pedidos p ON p.id = c.pedido_id"
        columns = ["pedido_id", "cantidad", "precio"]"#,
    ),
];

/// Returns the configuration with all streams.
pub(super) fn shop_toml() -> String {
    let stream = |((name, query), (_, settings)): (&(&str, &str), &(&str, &str))| {
        format!("[streams.{name}]\nquery = '''{query}'''\n{settings}\n")
    };
    QUERIES.iter().zip(&SETTINGS).map(stream).collect()
}

/// Signs a token that may watch everything.
pub(super) fn admin_token(app: &TestApp) -> String {
    app.sign(&json!({"id": OTHER_USER, "rol": "admin_sistema", "exp": claims::now() + 3600}))
}
