//! Moves: a parent that goes to another key while a writer of its children is still open. No trigger
//! below it can see that, so its own tells the server to read the new key again later.

use super::super::triggers::set;
use super::{SCHEMA, Scene, by_columns, entry, lineas, pedidos, stream, ventas, via};
use latido_stream::KeyRoute;

#[tokio::test]
async fn parent_that_moves_tells_its_new_key() {
    let mut scene = Scene::ventas().await;
    scene
        .check(&[
            (
                "UPDATE pedidos SET tienda_id = 2 WHERE id = 1",
                &["1", "2", "!2"],
            ),
            ("UPDATE pedidos SET total = 5 WHERE id = 1", &["2"]),
            (
                "UPDATE pedidos SET nota = 'x', tienda_id = tienda_id WHERE id = 1",
                &[],
            ),
            ("UPDATE pedidos SET tienda_id = NULL WHERE id = 1", &["2"]),
            (
                "UPDATE pedidos SET tienda_id = 3 WHERE id = 1",
                &["3", "!3"],
            ),
            (
                "UPDATE pedidos SET tienda_id = 5 + id % 2 WHERE id IN (7, 8)",
                &["5", "6", "7", "8", "!5", "!6"],
            ),
            // The foreign key makes sure that no linea was there before.
            (
                "INSERT INTO pedidos (id, tienda_id) VALUES (9000, 4)",
                &["4"],
            ),
            ("DELETE FROM pedidos WHERE id = 9000", &["4"]),
        ])
        .await;
}

#[tokio::test]
async fn move_tells_though_the_key_itself_is_not_watched() {
    let mut scene = Scene::new(SCHEMA, &ventas()).await;
    assert_eq!(
        scene
            .told("UPDATE pedidos SET tienda_id = 2 WHERE id = 1")
            .await,
        set(&[])
    );
    scene.watch(&[&["9"]]).await;
    // Another key of the stream is watched: a server that begins to watch 3 must know of it.
    assert_eq!(
        scene
            .told("UPDATE pedidos SET tienda_id = 3 WHERE id = 1")
            .await,
        set(&["!3"])
    );
}

#[tokio::test]
async fn race_is_told_in_every_isolation_level() {
    let mut scene = Scene::ventas().await;
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        scene
            .told("UPDATE pedidos SET tienda_id = 1 WHERE id = 1")
            .await;
        let writer = scene.home.client().await;
        let begin = format!(
            "BEGIN ISOLATION LEVEL {level}; UPDATE lineas SET cantidad = cantidad + 1 WHERE id = 1"
        );
        writer.batch_execute(&begin).await.unwrap();
        assert_eq!(
            scene
                .told("UPDATE pedidos SET tienda_id = 2 WHERE id = 1")
                .await,
            set(&["1", "2", "!2"]),
            "{level}"
        );
        writer.batch_execute("COMMIT").await.unwrap();
        assert_eq!(
            scene.told_so_far().await,
            set(&["1"]),
            "{level}: it cannot know better"
        );
    }
}

#[tokio::test]
async fn insert_is_a_move_where_a_child_may_be_first() {
    for constraint in [
        "SELECT",
        "ALTER TABLE lineas ADD FOREIGN KEY (pedido_id) REFERENCES pedidos DEFERRABLE INITIALLY DEFERRED",
        "ALTER TABLE lineas ADD FOREIGN KEY (pedido_id) REFERENCES pedidos NOT VALID",
        "ALTER TABLE lineas ADD otro bigint REFERENCES pedidos",
    ] {
        let mut scene = Scene::bare(SCHEMA).await;
        let drop = "ALTER TABLE lineas DROP CONSTRAINT lineas_pedido_id_fkey";
        scene.told(&format!("{drop}; {constraint}")).await;
        scene.install(&ventas()).await;
        scene.watch_tiendas(1..=20).await;
        assert_eq!(
            scene
                .told("INSERT INTO pedidos (id, tienda_id) VALUES (9500, 5)")
                .await,
            set(&["5", "!5"]),
            "{constraint}"
        );
        // With the constraint back, an INSERT is none.
        scene
            .told("ALTER TABLE lineas ADD FOREIGN KEY (pedido_id) REFERENCES pedidos")
            .await;
        scene.database.install(&ventas()).await.unwrap();
        assert_eq!(
            scene
                .told("INSERT INTO pedidos (id, tienda_id) VALUES (9501, 5)")
                .await,
            set(&["5"]),
            "{constraint}"
        );
    }
}

const EXTRA: &str = "CREATE TABLE extras (id bigserial PRIMARY KEY, linea_id bigint REFERENCES lineas ON DELETE CASCADE, n int NOT NULL DEFAULT 1);
    INSERT INTO extras (id, linea_id) SELECT i, i FROM generate_series(1, 20) i";
const EXTRA_LOOKUP: &str = "SELECT p.tienda_id FROM changed c JOIN lineas l ON l.id = c.linea_id JOIN pedidos p ON p.id = l.pedido_id";

#[tokio::test]
async fn table_without_the_key_looks_the_new_one_up() {
    let mut scene = Scene::bare(&format!("{SCHEMA}{EXTRA}")).await;
    let extras = via("extras", EXTRA_LOOKUP, &["linea_id", "n"]);
    scene
        .install(&stream(&["tienda_id"], vec![pedidos(), lineas(), extras]))
        .await;
    scene.watch_tiendas(1..=20).await;
    scene
        .check(&[
            ("UPDATE extras SET n = 2 WHERE id IN (1, 2)", &["1", "2"]),
            ("UPDATE lineas SET pedido_id = 4 WHERE id = 1", &["1", "4", "!4"]),
            ("UPDATE lineas SET cantidad = 9 WHERE id = 1", &["4"]),
            (
                "BEGIN; UPDATE lineas SET pedido_id = 5 WHERE id = 1; UPDATE extras SET n = 3 WHERE id = 1; COMMIT",
                &["4", "5", "!5"],
            ),
            ("UPDATE pedidos SET tienda_id = 6 WHERE id = 5", &["5", "6", "!6"]),
            ("DELETE FROM lineas WHERE id = 2", &["2"]),
            ("DELETE FROM pedidos WHERE id = 5", &["6"]),
        ])
        .await;
}

#[tokio::test]
async fn move_of_a_table_that_cannot_say_is_one_of_every_key() {
    let mut scene = Scene::bare(SCHEMA).await;
    scene.install(&stream(&["tienda_id"], vec![lineas()])).await;
    scene.watch_tiendas(1..=20).await;
    assert_eq!(
        scene
            .told("UPDATE pedidos SET tienda_id = 2 WHERE id = 1")
            .await,
        set(&["!*"])
    );
    // The column of an entry that the lookup does not read is not what it returns.
    let by_id = "SELECT p.id FROM changed c JOIN pedidos p ON p.id = c.pedido_id";
    let tables = vec![
        by_columns("pedidos", &["tienda_id"], &[]),
        via("lineas", by_id, &["pedido_id"]),
        entry("tiendas", KeyRoute::EveryKey, &["nombre"]),
    ];
    scene.install(&stream(&["tienda_id"], tables)).await;
    scene
        .check(&[
            ("UPDATE pedidos SET id = 9600 WHERE id = 199", &["19", "!*"]),
            ("UPDATE tiendas SET nombre = 'x' WHERE id = 1", &["*"]),
        ])
        .await;
}

#[tokio::test]
async fn partitioned_parent_tells_moves_between_partitions() {
    let schema = "CREATE TABLE pedidos (id bigint, tienda_id bigint, total numeric DEFAULT 0) PARTITION BY RANGE (tienda_id);
        CREATE TABLE pedidos_a PARTITION OF pedidos FOR VALUES FROM (0) TO (10);
        CREATE TABLE pedidos_b PARTITION OF pedidos FOR VALUES FROM (10) TO (20);
        CREATE TABLE lineas (id bigserial, pedido_id bigint, cantidad int DEFAULT 1, precio int DEFAULT 1);
        INSERT INTO pedidos SELECT i, i FROM generate_series(1, 19) i; INSERT INTO lineas (pedido_id) SELECT i FROM generate_series(1, 19) i";
    let mut scene = Scene::new(schema, &ventas()).await;
    scene.watch_tiendas(1..=20).await;
    scene
        .check(&[
            (
                "UPDATE lineas SET cantidad = 2 WHERE pedido_id IN (3, 12)",
                &["3", "12"],
            ),
            (
                "UPDATE pedidos SET tienda_id = 4 WHERE id = 3",
                &["3", "4", "!4"],
            ),
            (
                "UPDATE pedidos SET tienda_id = 14 WHERE id = 3",
                &["4", "14", "!14"],
            ),
            (
                "UPDATE pedidos_b SET tienda_id = 15 WHERE id = 3",
                &["14", "15", "!15"],
            ),
        ])
        .await;
    let more = "CREATE TABLE pedidos_c PARTITION OF pedidos FOR VALUES FROM (20) TO (30); UPDATE pedidos SET tienda_id = 20 WHERE id = 3";
    assert_eq!(
        scene.told(more).await,
        set(&["15", "20", "!20"]),
        "a new partition"
    );
}

#[tokio::test]
async fn parent_with_two_keys_tells_both() {
    let two = format!("{SCHEMA} ALTER TABLE pedidos ADD destino_id bigint");
    let mut scene = Scene::bare(&two).await;
    let lookup = "SELECT k.id FROM changed c JOIN pedidos p ON p.id = c.pedido_id CROSS JOIN LATERAL (VALUES (p.tienda_id), (p.destino_id)) AS k (id)";
    let tables = vec![
        by_columns("pedidos", &["tienda_id"], &["tienda_id", "total"]),
        by_columns("pedidos", &["destino_id"], &["destino_id", "total"]),
        via("lineas", lookup, &["pedido_id"]),
    ];
    scene.install(&stream(&["tienda_id"], tables)).await;
    scene.watch_tiendas(1..=20).await;
    scene
        .check(&[(
            "UPDATE pedidos SET destino_id = 9 WHERE id = 1",
            &["9", "!1", "!9"],
        )])
        .await;
}

/// An UPDATE that takes a row to another partition fires no trigger for UPDATE.
#[tokio::test]
async fn partitioned_parent_behind_a_foreign_key_tells_moves_between_partitions() {
    let schema = "CREATE TABLE pedidos (id bigint, region int, tienda_id bigint, total numeric DEFAULT 0, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
        CREATE TABLE pedidos_a PARTITION OF pedidos FOR VALUES IN (1); CREATE TABLE pedidos_b PARTITION OF pedidos FOR VALUES IN (2);
        INSERT INTO pedidos SELECT i, 1, i FROM generate_series(1, 9) i;
        CREATE TABLE lineas (id bigserial PRIMARY KEY, pedido_id bigint, region int, cantidad int DEFAULT 1,
                             FOREIGN KEY (pedido_id, region) REFERENCES pedidos ON UPDATE CASCADE ON DELETE CASCADE)";
    let lookup = "SELECT p.tienda_id FROM changed c JOIN pedidos p ON p.id = c.pedido_id AND p.region = c.region";
    let tables = vec![
        pedidos(),
        via("lineas", lookup, &["pedido_id", "region", "cantidad"]),
    ];
    let mut scene = Scene::new(schema, &stream(&["tienda_id"], tables)).await;
    scene.watch_tiendas(1..=20).await;
    scene
        .check(&[
            (
                "UPDATE pedidos SET tienda_id = 12 WHERE id = 3",
                &["3", "12", "!12"],
            ),
            (
                "UPDATE pedidos SET region = 2, tienda_id = 14 WHERE id = 3",
                &["12", "14", "!14"],
            ),
        ])
        .await;
}

/// Lookups that give a linea a key because a row is absent.
const GAINING: [&str; 8] = [
    "SELECT coalesce(p.tienda_id, 20) FROM changed c LEFT JOIN pedidos p ON p.id = c.pedido_id",
    "SELECT coalesce((SELECT p.tienda_id FROM pedidos p WHERE p.id = c.pedido_id), 20) FROM changed c",
    "SELECT max(p.tienda_id) FROM changed c JOIN pedidos p ON p.id <= c.pedido_id",
    "SELECT 20::bigint FROM changed c WHERE NOT EXISTS (SELECT FROM pedidos p WHERE p.id = c.pedido_id)",
    "SELECT c.pedido_id FROM changed c EXCEPT SELECT p.id FROM pedidos p",
    "SELECT p.tienda_id FROM changed c CROSS JOIN LATERAL (SELECT * FROM pedidos p WHERE p.id <= c.pedido_id ORDER BY p.id DESC LIMIT 1) p",
    "SELECT DISTINCT ON (c.pedido_id) p.tienda_id FROM changed c JOIN pedidos p ON p.id <= c.pedido_id ORDER BY c.pedido_id, p.id DESC",
    "SELECT v.tienda_id FROM changed c JOIN con_tienda v ON v.pedido_id = c.pedido_id",
];
/// Lookups whose rows have a key only because of rows that are there.
const PLAIN: [&str; 3] = [
    "SELECT p.tienda_id FROM changed c JOIN pedidos p ON p.id = c.pedido_id WHERE p.total >= 0",
    "SELECT p.tienda_id FROM changed c JOIN pedidos p ON p.id = c.pedido_id UNION SELECT p.id FROM changed c, pedidos p WHERE p.id = c.pedido_id",
    "WITH RECURSIVE sobre (id) AS (SELECT c.pedido_id FROM changed c UNION SELECT p.tienda_id FROM sobre s JOIN pedidos p ON p.id = s.id)
     SELECT id FROM sobre",
];

#[tokio::test]
async fn absent_row_that_gives_a_key_makes_changes_moves_of_every_key() {
    let unguarded = format!(
        "{SCHEMA} ALTER TABLE lineas DROP CONSTRAINT lineas_pedido_id_fkey;
         CREATE VIEW con_tienda AS SELECT l.pedido_id, coalesce(p.tienda_id, 20) AS tienda_id FROM lineas l LEFT JOIN pedidos p ON p.id = l.pedido_id"
    );
    let mut scene = Scene::bare(&unguarded).await;
    let mut id = 1;
    for (lookups, is_moved) in [(&GAINING[..], true), (&PLAIN, false)] {
        for lookup in lookups {
            let tables = vec![pedidos(), via("lineas", lookup, &["pedido_id"])];
            scene.install(&stream(&["tienda_id"], tables)).await;
            scene.watch_tiendas(1..=20).await;
            let told = scene
                .told(&format!("DELETE FROM pedidos WHERE id = {id}"))
                .await;
            assert_eq!(told.contains("!*"), is_moved, "{lookup}: {told:?}");
            // A change of what the lookup does not read is no move.
            if lookup.contains("tienda_id") {
                let update = format!("UPDATE pedidos SET tienda_id = 19 WHERE id = {}", id + 1);
                let told = scene.told(&update).await;
                assert_eq!(told.contains("!*"), is_moved, "{lookup}: {told:?}");
                assert_eq!(told.contains("!19"), !is_moved, "{lookup}: {told:?}");
            }
            id += 2;
        }
    }
}

#[tokio::test]
async fn foreign_key_lets_no_parent_of_a_linea_go_unseen() {
    let mut scene = Scene::bare(SCHEMA).await;
    let tables = vec![pedidos(), via("lineas", GAINING[0], &["pedido_id"])];
    let outer = stream(&["tienda_id"], tables);
    scene.install(&outer).await;
    scene.watch_tiendas(1..=20).await;
    scene
        .check(&[
            (
                "INSERT INTO pedidos (id, tienda_id) VALUES (9000, 4)",
                &["4"],
            ),
            ("DELETE FROM pedidos WHERE id = 9000", &["4"]),
            // The lookup is not understood, so a change of what it reads may lead to any key.
            (
                "UPDATE pedidos SET tienda_id = 5 WHERE id = 1",
                &["1", "5", "!*"],
            ),
        ])
        .await;
    let drop = "ALTER TABLE lineas DROP CONSTRAINT lineas_pedido_id_fkey";
    scene.told(drop).await;
    scene.install(&outer).await;
    let delete = "DELETE FROM pedidos WHERE id = 2";
    assert_eq!(scene.told(delete).await, set(&["2", "!*"]));
    // The triggers of a lookup that needs none go.
    scene.install(&ventas()).await;
    let delete = "DELETE FROM pedidos WHERE id = 3";
    assert_eq!(scene.told(delete).await, set(&["3"]));
}
