//! Whatever DDL runs, writes go on, and no change is lost: at worst it counts for every key.

use latido_postgres::InstallError;

use super::super::triggers::set;
use super::{Scene, ventas};

#[tokio::test]
async fn renames_of_the_parent_are_followed() {
    let mut scene = Scene::ventas().await;
    let update = "UPDATE lineas SET cantidad = cantidad + 1 WHERE id = 1";
    scene
        .check(&[
            (update, &["1"]),
            ("ALTER TABLE pedidos RENAME tienda_id TO comercio", &[]),
            (update, &["1"]),
            ("ALTER TABLE pedidos RENAME TO ordenes", &[]),
            (update, &["1"]),
            // The parent's own entry names its column, so it cannot follow.
            (
                "UPDATE ordenes SET comercio = 5 WHERE id = 1",
                &["*(42703)", "!*(42703)"],
            ),
            (update, &["5"]),
        ])
        .await;
}

#[tokio::test]
async fn what_the_lookup_needs_is_kept() {
    let mut scene = Scene::ventas().await;
    for (ddl, code) in [
        ("ALTER TABLE pedidos DROP COLUMN tienda_id", "2BP01"),
        ("ALTER TABLE pedidos ALTER tienda_id TYPE int", "0A000"),
        ("DROP TABLE pedidos", "2BP01"),
    ] {
        let error = scene.other.batch_execute(ddl).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), code, "{ddl}");
    }
    let update = "UPDATE lineas SET cantidad = cantidad + 1 WHERE id = 1";
    scene
        .check(&[
            ("ALTER TABLE pedidos DROP COLUMN nota", &[]),
            ("ALTER TABLE lineas ALTER cantidad TYPE bigint", &[]),
            (update, &["1"]),
            ("ALTER TABLE lineas ALTER pedido_id TYPE int", &[]),
            (update, &["1"]),
            ("ALTER TABLE pedidos DROP COLUMN tienda_id CASCADE", &[]),
            (update, &["*(42883)"]),
            ("INSERT INTO lineas (pedido_id) VALUES (1)", &["*(42883)"]),
            ("DROP TABLE lineas", &[]),
        ])
        .await;
}

#[tokio::test]
async fn renamed_and_dropped_columns_fail_no_write() {
    let mut scene = Scene::ventas().await;
    let update = "UPDATE lineas SET cantidad = cantidad + 1 WHERE id = 1";
    scene
        .check(&[
            (update, &["1"]),
            ("ALTER TABLE lineas RENAME precio TO valor", &[]),
            (update, &["*(42703)"]),
            ("INSERT INTO lineas (pedido_id) VALUES (1)", &["1"]),
            ("ALTER TABLE lineas RENAME valor TO precio", &[]),
            (update, &["1"]),
            ("ALTER TABLE lineas RENAME pedido_id TO pedido", &[]),
            ("DELETE FROM lineas WHERE id = 2", &["*(42703)"]),
            ("ALTER TABLE lineas DROP COLUMN pedido", &[]),
            (update, &["*(42703)"]),
        ])
        .await;
    let error = scene.database.install(&ventas()).await.unwrap_err();
    assert!(
        matches!(error, InstallError::UnsupportedTables(_)),
        "{error}"
    );
    let back = "ALTER TABLE lineas ADD pedido_id bigint REFERENCES pedidos; UPDATE lineas SET pedido_id = 3 WHERE id = 3";
    scene.told(back).await;
    scene.install(&ventas()).await;
    assert_eq!(
        scene
            .told("UPDATE lineas SET cantidad = 77 WHERE id = 3")
            .await,
        set(&["3"])
    );
}

#[tokio::test]
async fn type_of_what_is_read_may_change() {
    let mut scene = Scene::ventas().await;
    scene
        .told("ALTER TABLE lineas ALTER pedido_id TYPE int")
        .await;
    scene.install(&ventas()).await;
    assert_eq!(
        scene
            .told("UPDATE lineas SET pedido_id = 2 WHERE id = 1")
            .await,
        set(&["1", "2"])
    );
    let lookups = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'latido'::regnamespace AND proname ~ '_via_'";
    let count: i64 = scene.other.query_one(lookups, &[]).await.unwrap().get(0);
    assert_eq!(count, 1, "the function for the old type is gone");
}
