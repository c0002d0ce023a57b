//! Tables of other shapes: two lookups of one table, trees that refer to themselves, partitions,
//! inheritance, whole rows, and tables that logical replication writes.

use super::super::triggers::set;
use super::{SCHEMA, Scene, lineas, pedidos, stream, ventas, via};

#[tokio::test]
async fn two_lookups_of_one_table_tell_both_keys() {
    let table = "CREATE TABLE traspasos (id bigint PRIMARY KEY, de bigint, a bigint, n int)";
    let mut scene = Scene::bare(&format!("{SCHEMA}{table}")).await;
    let lookup = |column: &str| {
        format!("SELECT p.tienda_id FROM changed c JOIN pedidos p ON p.id = c.{column}")
    };
    let tables = vec![
        pedidos(),
        via("traspasos", &lookup("de"), &["n"]),
        via("traspasos", &lookup("a"), &["n"]),
    ];
    scene.install(&stream(&["tienda_id"], tables)).await;
    scene.watch_tiendas(1..=20).await;
    scene
        .check(&[
            ("INSERT INTO traspasos VALUES (1, 3, 4, 1)", &["3", "4"]),
            // What a lookup reads counts, whether it is listed or not.
            ("UPDATE traspasos SET a = 5", &["4", "5"]),
            ("UPDATE traspasos SET n = 5", &["3", "5"]),
            ("DELETE FROM traspasos", &["3", "5"]),
        ])
        .await;
}

#[tokio::test]
async fn trees_tell_their_roots() {
    let schema = "CREATE TABLE arbol (id bigint PRIMARY KEY, padre bigint REFERENCES arbol, tienda_id bigint, n int);
        INSERT INTO arbol VALUES (1, NULL, 1, 0), (2, NULL, 2, 0), (3, NULL, 3, 0); INSERT INTO arbol SELECT i, i - 3, NULL, 0 FROM generate_series(4, 300) i";
    let lookup = "WITH RECURSIVE up AS (SELECT c.padre, c.tienda_id FROM changed c
        UNION SELECT a.padre, a.tienda_id FROM up JOIN arbol a ON a.id = up.padre) SELECT up.tienda_id FROM up WHERE up.padre IS NULL -- the root";
    let mut scene = Scene::bare(schema).await;
    scene
        .install(&stream(
            &["tienda_id"],
            vec![via("arbol", lookup, &["id", "n"])],
        ))
        .await;
    scene.watch_tiendas(1..=3).await;
    scene
        .check(&[
            ("UPDATE arbol SET n = 1 WHERE id = 300", &["3"]),
            (
                "UPDATE arbol SET padre = 298 WHERE id = 150",
                &["3", "1", "!1"],
            ),
            ("UPDATE arbol SET n = 2 WHERE id = 300", &["1"]),
            (
                "UPDATE arbol SET padre = CASE id WHEN 4 THEN 2 ELSE 1 END WHERE id IN (4, 298)",
                &["1", "2", "!1", "!2"],
            ),
            ("DELETE FROM arbol WHERE id = 300", &["1"]),
            ("INSERT INTO arbol VALUES (301, 5, NULL, 0)", &["2"]),
        ])
        .await;
    // A cycle ends by itself.
    scene
        .told("UPDATE arbol SET padre = 297 WHERE id = 6")
        .await;
    scene.told("UPDATE arbol SET n = 2 WHERE id = 6").await;
}

#[tokio::test]
async fn partitions_and_children_tell_once_each() {
    let partitioned = "DROP TABLE lineas; CREATE TABLE lineas (id bigint, pedido_id bigint REFERENCES pedidos, cantidad int DEFAULT 1, precio numeric DEFAULT 1,
            nota text) PARTITION BY RANGE (cantidad);
        CREATE TABLE lineas_a PARTITION OF lineas FOR VALUES FROM (0) TO (10);
        CREATE TABLE lineas_b (precio numeric DEFAULT 1, cantidad int NOT NULL, pedido_id bigint, id bigint, nota text);
        ALTER TABLE lineas ATTACH PARTITION lineas_b FOR VALUES FROM (10) TO (20)";
    let mut scene = Scene::bare(&format!("{SCHEMA}{partitioned}")).await;
    scene.install(&ventas()).await;
    scene.watch_tiendas(1..=20).await;
    scene
        .check(&[
            (
                "INSERT INTO lineas VALUES (1, 1, 1), (2, 2, 2)",
                &["1", "2"],
            ),
            ("UPDATE lineas SET cantidad = 11 WHERE id = 1", &["1"]),
            (
                "UPDATE lineas SET cantidad = 12, pedido_id = 3 WHERE id = 2",
                &["2", "3"],
            ),
            ("UPDATE lineas_b SET precio = 5 WHERE id = 1", &["1"]),
            (
                "INSERT INTO lineas_b (id, pedido_id, cantidad) VALUES (9, 9, 15)",
                &["9"],
            ),
            ("DELETE FROM lineas_b WHERE id = 9", &["9"]),
            ("TRUNCATE lineas_b", &["*"]),
        ])
        .await;
    let payloads = scene
        .tap
        .payloads_of(
            &scene.other,
            "INSERT INTO lineas VALUES (3, 4, 4), (4, 5, 14)",
        )
        .await;
    assert_eq!(payloads.len(), 1, "{payloads:?}");

    let inherited = "CREATE TABLE base (pedido_id bigint, cantidad int); CREATE TABLE hija (extra int) INHERITS (base)";
    scene.told(inherited).await;
    let base = via("base", super::LOOKUP, &[]);
    scene
        .install(&stream(&["tienda_id"], vec![pedidos(), lineas(), base]))
        .await;
    scene
        .check(&[
            ("INSERT INTO hija VALUES (4, 1, 1)", &["4"]),
            ("UPDATE base SET cantidad = 2", &["4"]),
            ("UPDATE ONLY base SET cantidad = 3", &[]),
            ("UPDATE hija SET cantidad = 4", &["4"]),
            ("DELETE FROM base", &["4"]),
        ])
        .await;
}

#[tokio::test]
async fn lookup_of_whole_rows_gets_them() {
    let schema = "CREATE SCHEMA otro; CREATE TABLE otro.\"Cosas\" (sobra int, etiquetas text[], j json, tienda bigint, n int); ALTER TABLE otro.\"Cosas\" DROP sobra";
    let mut scene = Scene::bare(schema).await;
    for lookup in [
        // An array, and a column without equality.
        "SELECT c.tienda FROM changed c WHERE c.etiquetas IS NOT NULL AND c.j IS NOT NULL;",
        "SELECT (to_jsonb(c) ->> 'tienda')::bigint FROM changed AS c",
        "SELECT (to_jsonb(c) ->> 'tienda')::bigint FROM changed AS c WHERE c.n > 0",
    ] {
        scene
            .install(&stream(
                &["tienda"],
                vec![via("otro.Cosas", lookup, &["n"])],
            ))
            .await;
        scene.watch_tiendas(1..=3).await;
        scene
            .check(&[
                (
                    "INSERT INTO otro.\"Cosas\" VALUES ('{a,b}', '{}', 1, 1), ('{c}', '[]', 2, 1)",
                    &["1", "2"],
                ),
                ("UPDATE otro.\"Cosas\" SET n = 2 WHERE tienda = 1", &["1"]),
                ("UPDATE otro.\"Cosas\" SET n = 3", &["1", "2"]),
                (
                    "UPDATE otro.\"Cosas\" SET tienda = 3, n = n + 1",
                    &["1", "2", "3"],
                ),
                ("DELETE FROM otro.\"Cosas\"", &["3"]),
            ])
            .await;
    }
}

#[tokio::test]
async fn texts_that_a_collation_takes_for_equal_stay_different_keys() {
    let schema =
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        CREATE TABLE claves (nombre text COLLATE ci, n int)";
    let mut scene = Scene::bare(schema).await;
    scene
        .install(&stream(
            &["nombre"],
            vec![via("claves", "SELECT c.nombre FROM changed c", &["n"])],
        ))
        .await;
    scene.watch(&[&["a"], &["A"]]).await;
    scene
        .check(&[
            ("INSERT INTO claves VALUES ('a', 1), ('A', 1)", &["a", "A"]),
            ("UPDATE claves SET n = 2", &["a", "A"]),
            (
                "UPDATE claves SET nombre = lower(nombre), n = n + 1",
                &["a", "A"],
            ),
        ])
        .await;
}

/// An UPDATE of many rows compares old rows with new ones. Types differ in what is equal, or have no
/// equality; what a lookup reads stays as it is.
#[tokio::test]
async fn equal_values_of_several_texts_stay_different_arguments() {
    let schema = "CREATE TABLE medidas (n numeric, j json, b bit, otro int); CREATE TABLE textos (texto text, tienda bigint);
        INSERT INTO textos VALUES ('7.0', 1), ('7.00', 2);
        INSERT INTO medidas VALUES (7.0, '{\"tienda\": 1}', '1', 0), (7.00, '{\"tienda\": 2}', '0', 0)";
    let mut scene = Scene::bare(schema).await;
    for lookup in [
        "SELECT t.tienda FROM changed c JOIN textos t ON t.texto = c.n::text",
        "SELECT (c.j ->> 'tienda')::bigint FROM changed c",
        "SELECT 2 - c.b::int::bigint FROM changed c WHERE c.j IS NOT NULL",
    ] {
        let medidas = via("medidas", lookup, &["otro"]);
        scene.install(&stream(&["tienda"], vec![medidas])).await;
        scene.watch_tiendas(1..=3).await;
        let update = "UPDATE medidas SET otro = otro + 1";
        assert_eq!(scene.told(update).await, set(&["1", "2"]), "{lookup}");
    }
}

#[tokio::test]
async fn numbers_that_a_session_prints_alike_are_different() {
    let schema = "CREATE TABLE medidas (tienda bigint, n float8); INSERT INTO medidas SELECT 1, 1 FROM generate_series(1, 2)";
    let mut scene = Scene::bare(schema).await;
    let medidas = via("medidas", "SELECT c.tienda FROM changed c", &["n"]);
    scene.install(&stream(&["tienda"], vec![medidas])).await;
    scene.watch_tiendas(1..=1).await;
    scene
        .check(&[
            ("SET extra_float_digits = -3", &[]),
            ("UPDATE medidas SET n = n + 1e-15", &["1"]),
        ])
        .await;
}

/// A worker of logical replication fires row triggers alone, so such a table has those.
#[tokio::test]
async fn table_of_a_subscription_gets_row_triggers() {
    let mut scene = Scene::bare(SCHEMA).await;
    let replicated = "SET allow_system_table_mods = on;
        INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate) VALUES (1, 'lineas'::regclass, 'r'); RESET allow_system_table_mods";
    scene.told(replicated).await;
    scene.install(&ventas()).await;
    let count = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'lineas'::regclass AND tgtype & 1 = 1 AND NOT tgisinternal";
    let by_row: i64 = scene.other.query_one(count, &[]).await.unwrap().get(0);
    assert_eq!(by_row, 3);
    let update = "UPDATE lineas SET cantidad = cantidad + 1 WHERE id = 1";
    assert_eq!(scene.told(update).await, set(&[]));
    scene.watch_tiendas(1..=20).await;
    scene
        .check(&[
            (update, &["1"]),
            ("UPDATE lineas SET nota = 'x'", &[]),
            ("SET session_replication_role = replica", &[]),
            ("UPDATE lineas SET pedido_id = 2 WHERE id = 1", &["1", "2"]),
            (
                "INSERT INTO lineas (pedido_id) VALUES (3), (4)",
                &["3", "4"],
            ),
            ("DELETE FROM lineas WHERE id IN (5, 6)", &["5", "6"]),
            ("TRUNCATE lineas", &["*"]),
        ])
        .await;
    scene.told("RESET session_replication_role; SET allow_system_table_mods = on; DELETE FROM pg_subscription_rel").await;
}
