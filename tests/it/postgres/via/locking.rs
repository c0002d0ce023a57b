//! Lookups beside migrations, deadlines and failures: no write fails, and none waits for long.

use std::time::{Duration, Instant};

use super::super::triggers::set;
use super::{SCHEMA, Scene, pedidos, stream, via};

const UPDATE: &str = "UPDATE lineas SET cantidad = cantidad + 1 WHERE id = 1";

#[tokio::test]
async fn writer_does_not_wait_for_a_migration_of_the_parent() {
    let mut scene = Scene::ventas().await;
    let migration = scene.home.client().await;
    let lock = "BEGIN; LOCK TABLE pedidos IN ACCESS EXCLUSIVE MODE";
    migration.batch_execute(lock).await.unwrap();
    let start = Instant::now();
    assert_eq!(scene.told(UPDATE).await, set(&["*(55P03)"]));
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    migration.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(scene.told(UPDATE).await, set(&["1"]));
}

#[tokio::test]
async fn migration_and_writer_in_opposite_order_both_succeed() {
    let scene = Scene::ventas().await;
    let (migration, writer) = (scene.home.client().await, scene.home.client().await);
    writer
        .batch_execute("BEGIN; SELECT FROM lineas WHERE id = 2 FOR UPDATE")
        .await
        .unwrap();
    migration
        .batch_execute("BEGIN; LOCK TABLE pedidos IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let (migrated, written) = tokio::join!(
        migration.batch_execute("LOCK TABLE lineas IN ACCESS EXCLUSIVE MODE; COMMIT"),
        writer.batch_execute("UPDATE lineas SET cantidad = cantidad + 1 WHERE id = 2; COMMIT"),
    );
    migrated.unwrap();
    written.unwrap();
}

#[tokio::test]
async fn lookup_that_fails_fails_no_write() {
    let mut scene = Scene::bare(SCHEMA).await;
    let lookup =
        "SELECT p.tienda_id / (c.cantidad - 5) FROM changed c JOIN pedidos p ON p.id = c.pedido_id";
    scene
        .install(&stream(
            &["tienda_id"],
            vec![pedidos(), via("lineas", lookup, &[])],
        ))
        .await;
    scene.watch(&[&["1"]]).await;
    assert_eq!(
        scene
            .told("UPDATE lineas SET cantidad = 5 WHERE id = 1")
            .await,
        set(&["*(22012)"])
    );
    let cantidad: i32 = scene
        .other
        .query_one("SELECT cantidad FROM lineas WHERE id = 1", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(cantidad, 5);
}

/// One UPDATE of many rows must not leave a plan that slows all later ones of its session.
#[tokio::test]
async fn plan_of_a_large_statement_does_not_slow_small_ones() {
    let mut scene = Scene::ventas().await;
    let many = "INSERT INTO lineas (pedido_id) SELECT 1 + i % 200 FROM generate_series(1, 5000) i; ANALYZE lineas; UPDATE lineas SET cantidad = 3";
    scene.told(many).await;
    scene.told(UPDATE).await;
    let start = Instant::now();
    for _ in 0..20 {
        scene.other.batch_execute(UPDATE).await.unwrap();
    }
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
}
