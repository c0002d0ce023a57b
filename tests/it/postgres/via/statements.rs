//! What each kind of statement tells when the key of a row is that of its parent.

use std::pin::pin;

use bytes::Bytes;
use futures_util::SinkExt;

use super::super::triggers::set;
use super::{LOOKUP, SCHEMA, Scene, pedidos, stream, ventas, via};

#[tokio::test]
async fn changed_rows_tell_the_keys_of_their_parents() {
    let mut scene = Scene::ventas().await;
    let nothing: &[&str] = &[];
    scene
        .check(&[
            ("UPDATE lineas SET cantidad = 2 WHERE id = 1", &["1"]),
            ("UPDATE lineas SET pedido_id = 2 WHERE id = 1", &["1", "2"]),
            ("UPDATE lineas SET nota = 'x'", nothing),
            ("UPDATE lineas SET cantidad = 2 WHERE id IN (3, 4)", &["3", "4"]),
            ("UPDATE lineas SET cantidad = cantidad WHERE id < 9", nothing),
            ("UPDATE lineas SET cantidad = 2 WHERE id = -1", nothing),
            ("INSERT INTO lineas (pedido_id) VALUES (NULL)", nothing),
            ("INSERT INTO lineas (pedido_id) VALUES (5), (6), (6)", &["5", "6"]),
            ("INSERT INTO lineas (pedido_id) SELECT 7 WHERE false", nothing),
            ("DELETE FROM lineas WHERE id = 5", &["5"]),
            ("DELETE FROM lineas WHERE false", nothing),
            ("UPDATE lineas SET pedido_id = NULL WHERE id = 8", &["8"]),
            ("UPDATE lineas SET pedido_id = 9 WHERE pedido_id IS NULL AND id = 8", &["9"]),
            // Two rows that swap what is listed are no change.
            ("UPDATE lineas SET pedido_id = CASE id WHEN 26 THEN 27 ELSE 26 END WHERE id IN (26, 27)", nothing),
        ])
        .await;
}

/// What the lookup reads need not be listed.
#[tokio::test]
async fn row_that_moves_concerns_both_keys_whatever_is_listed() {
    let tables = vec![pedidos(), via("lineas", LOOKUP, &["cantidad"])];
    let mut scene = Scene::new(SCHEMA, &stream(&["tienda_id"], tables)).await;
    scene.watch_tiendas(1..=20).await;
    scene
        .check(&[
            ("UPDATE lineas SET pedido_id = 2 WHERE id = 1", &["1", "2"]),
            (
                "UPDATE lineas SET pedido_id = pedido_id + 1 WHERE id IN (3, 5)",
                &["3", "4", "5", "6"],
            ),
            ("UPDATE lineas SET precio = 9 WHERE id = 7", &[]),
        ])
        .await;
}

/// Rows are compared as text, in which a session may round numbers.
#[tokio::test]
async fn session_that_rounds_numbers_hides_no_change() {
    let schema = format!("{SCHEMA} ALTER TABLE lineas ADD peso float8 NOT NULL DEFAULT 1");
    let tables = vec![pedidos(), via("lineas", LOOKUP, &["pedido_id", "peso"])];
    let mut scene = Scene::new(&schema, &stream(&["tienda_id"], tables)).await;
    scene.watch_tiendas(1..=20).await;
    let rounded = "SET extra_float_digits = -10; UPDATE lineas SET peso = peso + 1e-12 WHERE id";
    for (rows, told) in [("= 1", set(&["1"])), ("IN (2, 3)", set(&["2", "3"]))] {
        assert_eq!(
            scene.told(&format!("{rounded} {rows}")).await,
            told,
            "{rows}"
        );
    }
}

#[tokio::test]
async fn parents_and_children_of_one_transaction_tell_the_key() {
    let mut scene = Scene::ventas().await;
    scene
        .check(&[
            (
                "WITH p AS (INSERT INTO pedidos (id, tienda_id) VALUES (9010, 9) RETURNING id)
                 INSERT INTO lineas (id, pedido_id) SELECT 9010, id FROM p",
                &["9"],
            ),
            (
                "BEGIN; INSERT INTO pedidos (id, tienda_id) VALUES (9020, 11); INSERT INTO lineas (id, pedido_id) VALUES (9020, 9020); COMMIT",
                &["11"],
            ),
            (
                "WITH p AS (UPDATE pedidos SET tienda_id = 10 WHERE id = 9010) UPDATE lineas SET cantidad = 5 WHERE id = 9010",
                &["9", "10", "!10"],
            ),
            // Both parents move while their children change places.
            (
                "BEGIN; UPDATE lineas SET pedido_id = 9020 WHERE id = 9010; UPDATE pedidos SET tienda_id = 12 WHERE id IN (9010, 9020); COMMIT",
                &["10", "11", "12", "!12"],
            ),
            ("BEGIN; SAVEPOINT a; UPDATE lineas SET cantidad = 77 WHERE id = 2; ROLLBACK TO a; COMMIT", &[]),
            (
                "BEGIN; SAVEPOINT a; UPDATE lineas SET cantidad = 77 WHERE id = 2; ROLLBACK TO a;
                 UPDATE lineas SET cantidad = 77 WHERE id = 3; COMMIT",
                &["3"],
            ),
            ("BEGIN; UPDATE lineas SET cantidad = 78 WHERE id = 2; ROLLBACK", &[]),
        ])
        .await;
}

#[tokio::test]
async fn cascades_tell_the_keys_that_they_concern() {
    let mut scene = Scene::ventas().await;
    scene
        .check(&[
            ("UPDATE pedidos SET id = 9030 WHERE id = 11", &["11", "!11"]),
            ("DELETE FROM pedidos WHERE id = 9030", &["11"]),
            ("DELETE FROM tiendas WHERE id = 20", &["20"]),
            ("UPDATE tiendas SET id = 18 WHERE id = 20", &[]),
        ])
        .await;
    scene.watch(&[&["500"]]).await;
    let moved = scene
        .told("UPDATE tiendas SET id = 500 WHERE id = 19")
        .await;
    assert_eq!(moved, set(&["19", "500", "!500"]));
    let set_null = "ALTER TABLE lineas DROP CONSTRAINT lineas_pedido_id_fkey,
        ADD FOREIGN KEY (pedido_id) REFERENCES pedidos ON DELETE SET NULL";
    scene.told(set_null).await;
    assert_eq!(
        scene.told("DELETE FROM pedidos WHERE id = 16").await,
        set(&["16"])
    );
    let deferred = "ALTER TABLE lineas DROP CONSTRAINT lineas_pedido_id_fkey,
        ADD FOREIGN KEY (pedido_id) REFERENCES pedidos DEFERRABLE INITIALLY DEFERRED";
    scene.told(deferred).await;
    scene.install(&ventas()).await;
    scene
        .check(&[
            (
                "BEGIN; INSERT INTO lineas (id, pedido_id) VALUES (9050, 9050); INSERT INTO pedidos (id, tienda_id) VALUES (9050, 17); COMMIT",
                &["17", "!17"],
            ),
            ("TRUNCATE lineas CASCADE", &["*"]),
            ("TRUNCATE pedidos CASCADE", &["*"]),
        ])
        .await;
}

#[tokio::test]
async fn unusual_writers_tell_the_keys_too() {
    let mut scene = Scene::ventas().await;
    {
        let copy = scene.other.copy_in("COPY lineas (pedido_id) FROM STDIN");
        let mut sink = pin!(copy.await.unwrap());
        sink.send(Bytes::from_static(b"14\n15\n")).await.unwrap();
        sink.close().await.unwrap();
    }
    assert_eq!(scene.told_so_far().await, set(&["14", "15"]));
    let upsert = |pedido: u32, then: &str| {
        format!("INSERT INTO lineas (id, pedido_id) VALUES (3, {pedido}) ON CONFLICT {then}")
    };
    assert_eq!(
        scene
            .told(&upsert(7, "(id) DO UPDATE SET pedido_id = 8"))
            .await,
        set(&["3", "8"])
    );
    assert_eq!(scene.told(&upsert(7, "DO NOTHING")).await, set(&[]));
    let version = "SELECT current_setting('server_version_num')::int";
    let version: i32 = scene.other.query_one(version, &[]).await.unwrap().get(0);
    if version >= 150_000 {
        let merge = "MERGE INTO lineas l USING (VALUES (3, 12), (9040, 13)) v (id, p) ON l.id = v.id
            WHEN MATCHED THEN UPDATE SET pedido_id = v.p WHEN NOT MATCHED THEN INSERT (id, pedido_id) VALUES (v.id, v.p)";
        assert_eq!(scene.told(merge).await, set(&["8", "12", "13"]));
    }
    let replica = "SET session_replication_role = replica; UPDATE lineas SET cantidad = 70 WHERE id = 1; RESET session_replication_role";
    assert_eq!(scene.told(replica).await, set(&["1"]));
}

#[tokio::test]
async fn many_keys_fit_into_notifications() {
    let mut scene = Scene::new(SCHEMA, &ventas()).await;
    let prepare = "INSERT INTO tiendas SELECT i FROM generate_series(1001, 4001) i; INSERT INTO pedidos SELECT i, i FROM generate_series(1001, 4001) i";
    scene.told(prepare).await;
    scene.watch_tiendas(1001..=1700).await;
    let insert = |last: u32| {
        format!("INSERT INTO lineas (pedido_id) SELECT i FROM generate_series(1001, {last}) i")
    };
    let payloads = scene.tap.payloads_of(&scene.other, &insert(1700)).await;
    assert!((1..=2).contains(&payloads.len()), "{}", payloads.len());
    assert_eq!(super::told(&payloads).len(), 700);
    assert_eq!(
        scene.told(&insert(4001)).await,
        set(&["*"]),
        "more than 2,000"
    );
    assert_eq!(
        scene
            .told("UPDATE lineas SET cantidad = 3 WHERE pedido_id > 1000")
            .await,
        set(&["*"])
    );
    assert_eq!(
        scene
            .told("UPDATE lineas SET cantidad = 4 WHERE pedido_id = 1005")
            .await,
        set(&["1005"])
    );
}

/// With 200 watched keys, one changed row names one key; with none, nothing is even looked up.
#[tokio::test]
async fn nothing_is_told_or_looked_up_without_need() {
    let mut scene = Scene::new(SCHEMA, &ventas()).await;
    let more = "INSERT INTO tiendas SELECT i FROM generate_series(21, 200) i; INSERT INTO pedidos SELECT 1000 + i, i FROM generate_series(21, 200) i";
    scene.told(more).await;
    // A lookup would wait for this lock, and fail.
    let blocker = scene.home.client().await;
    let lock = "BEGIN; LOCK TABLE pedidos IN ACCESS EXCLUSIVE MODE";
    blocker.batch_execute(lock).await.unwrap();
    let update = "UPDATE lineas SET cantidad = cantidad + 1 WHERE id = 7";
    for _ in 0..50 {
        assert_eq!(scene.told(update).await, set(&[]));
    }
    // Tienda 2 shares no pair of locks with any of the others.
    scene.watch(&[&["1"]]).await;
    scene.watch_tiendas(3..=200).await;
    assert_eq!(
        scene.told(update).await,
        set(&["*(55P03)"]),
        "the lock is in the way"
    );
    blocker.batch_execute("ROLLBACK").await.unwrap();
    for _ in 0..5 {
        assert_eq!(scene.told(update).await, set(&["7"]));
    }
    for _ in 0..50 {
        let unwatched = "UPDATE lineas SET cantidad = cantidad + 1 WHERE id = 2";
        assert_eq!(scene.told(unwatched).await, set(&[]));
    }
}
