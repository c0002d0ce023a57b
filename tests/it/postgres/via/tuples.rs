//! Keys of several parts and of none, tables with two keys, and the gate of tables that concern every
//! key.

use latido_stream::KeyRoute;

use super::super::triggers::set;
use super::{SCHEMA, Scene, by_columns, entry, open, stream, told, via};

const CAJAS: &str = "CREATE TABLE ventas (id bigserial PRIMARY KEY, tienda bigint, caja text COLLATE \"C\", dia date, abierta boolean, total int DEFAULT 0);
    INSERT INTO ventas (tienda, caja, dia, abierta) VALUES (1, 'a ñ/1', '2026-11-30', true), (1, 'b', '2026-12-01', false), (2, 'b', '2026-12-01', true)";

/// The same tables with row triggers, with statement triggers, and without a gate.
const FORMS: [(bool, &str); 3] = [
    (true, ""),
    (true, "CREATE TABLE hija () INHERITS (ventas)"),
    (false, ""),
];

#[tokio::test]
async fn keys_of_several_parts_are_told_as_tuples() {
    for (gate, form) in FORMS {
        let mut scene = Scene::bare(&format!("{CAJAS};{form}")).await;
        scene.database = open(scene.home.url(), gate);
        scene
            .install(&stream(
                &["tienda", "caja"],
                vec![by_columns("ventas", &["tienda", "caja"], &["total"])],
            ))
            .await;
        scene
            .watch(&[&["1", "a ñ/1"], &["1", "b"], &["3", "b"]])
            .await;
        // Without the gate, keys that nobody watches are told too.
        let unwatched: &[&str] = if gate { &[] } else { &["[2/b]"] };
        let moved: &[&str] = if gate {
            &["[3/b]"]
        } else {
            &["[2/b]", "[3/b]"]
        };
        scene
            .check(&[
                ("UPDATE ventas SET total = 1 WHERE id = 1", &["[1/a ñ/1]"]),
                ("UPDATE ventas SET total = 1 WHERE id = 3", unwatched),
                (
                    "UPDATE ventas SET total = 2 WHERE tienda = 1",
                    &["[1/a ñ/1]", "[1/b]"],
                ),
                ("UPDATE ventas SET total = total, dia = '2026-12-02'", &[]),
                // A row that moves concerns both its keys, whatever is listed.
                (
                    "UPDATE ventas SET caja = 'b' WHERE id = 1",
                    &["[1/a ñ/1]", "[1/b]"],
                ),
                (
                    "UPDATE ventas SET caja = 'a ñ/1' WHERE id = 1",
                    &["[1/a ñ/1]", "[1/b]"],
                ),
                (
                    "UPDATE ventas SET tienda = 3, total = 3 WHERE id = 3",
                    moved,
                ),
                (
                    "INSERT INTO ventas (tienda, caja) VALUES (1, NULL), (NULL, 'b'), (NULL, NULL)",
                    &[],
                ),
                (
                    "UPDATE ventas SET caja = 'b', total = 4 WHERE tienda = 1 AND caja IS NULL",
                    &["[1/b]"],
                ),
                (
                    "UPDATE ventas SET caja = NULL, total = 5 WHERE tienda = 1 AND total = 4",
                    &["[1/b]"],
                ),
                ("DELETE FROM ventas WHERE tienda = 3", &["[3/b]"]),
                ("TRUNCATE ventas", &["*"]),
                (
                    "INSERT INTO ventas (tienda, caja) VALUES (3, 'b'), (3, 'b'), (1, 'b')",
                    &["[3/b]", "[1/b]"],
                ),
                (
                    "UPDATE ventas SET tienda = 4 - tienda, total = 9",
                    &["[3/b]", "[1/b]"],
                ),
            ])
            .await;
    }
}

#[tokio::test]
async fn dates_and_booleans_have_one_text_in_every_session() {
    for (gate, form) in FORMS {
        let mut scene = Scene::bare(&format!("{CAJAS};{form}")).await;
        scene.database = open(scene.home.url(), gate);
        let days = stream(&["dia"], vec![by_columns("ventas", &["dia"], &["total"])]);
        scene.install(&days).await;
        scene.watch(&[&["2026-11-30"]]).await;
        let german = "SET datestyle = 'German, DMY'; SET timezone = 'America/Santiago'; UPDATE ventas SET total = total + 1 WHERE id = 1";
        assert_eq!(scene.told(german).await, set(&["2026-11-30"]));
        let both = stream(
            &["dia", "abierta"],
            vec![by_columns("ventas", &["dia", "abierta"], &["total"])],
        );
        scene.install(&both).await;
        scene.watch(&[&["2026-11-30", "true"]]).await;
        scene
            .check(&[
                (
                    "UPDATE ventas SET total = total + 1 WHERE id = 1",
                    &["[2026-11-30/true]"],
                ),
                (
                    "INSERT INTO ventas (dia, abierta) VALUES ('infinity', true)",
                    &[],
                ),
            ])
            .await;
    }
}

#[tokio::test]
async fn stream_without_a_key_tells_its_only_one() {
    for (gate, form) in FORMS {
        let mut scene = Scene::bare(&format!("{CAJAS};{form}")).await;
        scene.database = open(scene.home.url(), gate);
        scene
            .install(&stream(&[], vec![by_columns("ventas", &[], &["total"])]))
            .await;
        let silent: &[&str] = if gate { &[] } else { &["[]"] };
        assert_eq!(scene.told("UPDATE ventas SET total = 1").await, set(silent));
        scene.watch(&[&[]]).await;
        scene
            .check(&[
                ("UPDATE ventas SET total = 2", &["[]"]),
                ("UPDATE ventas SET total = 2, caja = 'z'", &[]),
                ("INSERT INTO ventas (tienda) VALUES (NULL)", &["[]"]),
                ("DELETE FROM ventas WHERE id = 1", &["[]"]),
                ("DELETE FROM ventas WHERE false", &[]),
            ])
            .await;
        let all = scene.told("TRUNCATE ventas").await;
        assert!(all == set(&["*"]) || all == set(&["[]"]), "{all:?}");
    }
}

#[tokio::test]
async fn table_with_two_keys_tells_both() {
    let schema =
        "CREATE TABLE traspasos (id bigserial PRIMARY KEY, origen bigint, destino bigint, n int)";
    for (gate, form) in [
        (true, ""),
        (true, ";CREATE TABLE hija () INHERITS (traspasos)"),
        (false, ""),
    ] {
        let mut scene = Scene::bare(&format!("{schema}{form}")).await;
        scene.database = open(scene.home.url(), gate);
        let tables = vec![
            by_columns("traspasos", &["origen"], &["n"]),
            by_columns("traspasos", &["destino"], &["n"]),
        ];
        scene.install(&stream(&["tienda"], tables)).await;
        scene.watch_tiendas(1..=5).await;
        scene
            .check(&[
                (
                    "INSERT INTO traspasos (origen, destino, n) VALUES (1, 2, 1)",
                    &["1", "2"],
                ),
                ("UPDATE traspasos SET n = 2", &["1", "2"]),
                ("UPDATE traspasos SET destino = 3, n = 3", &["1", "2", "3"]),
                ("DELETE FROM traspasos", &["1", "3"]),
            ])
            .await;
    }
}

#[tokio::test]
async fn lookup_finds_keys_of_several_parts() {
    let mut scene = Scene::bare(SCHEMA).await;
    scene
        .told("UPDATE pedidos SET nota = CASE id WHEN 1 THEN 'caja ñ/1' WHEN 2 THEN 'caja 2' END")
        .await;
    let lookup = "SELECT p.tienda_id, p.nota FROM changed c JOIN pedidos p ON p.id = c.pedido_id";
    let tables = vec![
        by_columns("pedidos", &["tienda_id", "nota"], &["total"]),
        via("lineas", lookup, &["pedido_id", "cantidad"]),
    ];
    scene.install(&stream(&["tienda", "caja"], tables)).await;
    scene.watch(&[&["1", "caja ñ/1"]]).await;
    scene
        .check(&[
            (
                "UPDATE lineas SET cantidad = 5 WHERE id = 1",
                &["[1/caja ñ/1]"],
            ),
            ("UPDATE lineas SET cantidad = 5 WHERE id = 2", &[]),
            ("UPDATE lineas SET cantidad = 5 WHERE id = 3", &[]),
            (
                "UPDATE lineas SET cantidad = 6 WHERE id < 4",
                &["[1/caja ñ/1]"],
            ),
            (
                "UPDATE pedidos SET nota = 'otra' WHERE id = 2",
                &["![2/otra]"],
            ),
            ("UPDATE pedidos SET nota = NULL WHERE id = 2", &[]),
        ])
        .await;
}

#[tokio::test]
async fn table_that_concerns_every_key_is_silent_if_none_is_watched() {
    let mut scene = Scene::bare(SCHEMA).await;
    scene
        .install(&stream(
            &["tienda"],
            vec![entry("tiendas", KeyRoute::EveryKey, &["nombre"])],
        ))
        .await;
    let update = "UPDATE tiendas SET nombre = nombre || 'x' WHERE id = 1";
    for _ in 0..50 {
        assert_eq!(scene.told(update).await, set(&[]));
    }
    scene.watch(&[&["7"]]).await;
    assert_eq!(scene.told(update).await, set(&["*"]));
    scene.watch_nothing().await;
    assert_eq!(scene.told(update).await, set(&[]));
    open(scene.home.url(), false)
        .install(&stream(
            &["tienda"],
            vec![entry("tiendas", KeyRoute::EveryKey, &["nombre"])],
        ))
        .await
        .unwrap();
    assert_eq!(
        told(&scene.tap.payloads(update).await),
        set(&["*"]),
        "without the gate"
    );
}
