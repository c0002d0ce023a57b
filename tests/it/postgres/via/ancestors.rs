//! Queries that read a partition, or a table that inherits, by its name: statements that name a table
//! above it change its rows too, and fire no statement trigger of its own.

use latido_postgres::{FindingLevel, InstallChange, examine};
use latido_stream::KeyRoute;

use super::{SCHEMA, Scene, by_columns, entry, open, pedidos, stream, via};

pub(super) const PARTITIONED: &str = "DROP TABLE lineas;
    CREATE TABLE lineas (id bigint, pedido_id bigint, cantidad int, precio numeric, nota text) PARTITION BY RANGE (cantidad);
    CREATE TABLE lineas_a PARTITION OF lineas FOR VALUES FROM (0) TO (10);
    CREATE TABLE lineas_b (nota text, sobra int, precio numeric, cantidad int NOT NULL, pedido_id bigint, id bigint) PARTITION BY LIST (nota);
    ALTER TABLE lineas_b DROP sobra;
    ALTER TABLE lineas ATTACH PARTITION lineas_b FOR VALUES FROM (10) TO (20);
    CREATE TABLE lineas_b1 PARTITION OF lineas_b FOR VALUES IN ('x');
    CREATE TABLE lineas_b2 PARTITION OF lineas_b DEFAULT;";

#[tokio::test]
async fn writes_of_a_partitioned_table_tell_the_keys_of_its_partitions() {
    let mut scene = Scene::bare(&format!("{SCHEMA}{PARTITIONED}")).await;
    let lineas = via("lineas_b1", super::LOOKUP, &["pedido_id"]);
    scene
        .install(&stream(&["tienda_id"], vec![pedidos(), lineas]))
        .await;
    scene.watch_tiendas(1..=20).await;
    scene
        .check(&[
            ("INSERT INTO lineas VALUES (1, 1, 11, 1, 'x')", &["1"]),
            ("INSERT INTO lineas_b VALUES ('x', 1, 12, 2, 2)", &["2"]),
            ("UPDATE lineas SET cantidad = 13 WHERE id = 1", &["1"]),
            ("UPDATE lineas SET precio = 7 WHERE id = 1", &[]),
            (
                "UPDATE lineas_b SET pedido_id = 3 WHERE id = 2",
                &["2", "3"],
            ),
            // Out of the partition, and into it, by columns that are not listed.
            ("UPDATE lineas_b SET nota = 'y' WHERE id = 1", &["1"]),
            ("UPDATE lineas SET nota = 'x' WHERE id = 1", &["1"]),
            ("UPDATE lineas SET cantidad = 3 WHERE id = 1", &["1"]),
            ("UPDATE lineas SET cantidad = 14 WHERE id = 1", &["1"]),
            ("DELETE FROM lineas_b1 WHERE id = 1", &["1"]),
            ("DELETE FROM lineas", &["3"]),
            ("TRUNCATE lineas", &["*"]),
        ])
        .await;
}

#[tokio::test]
async fn writes_of_a_parent_tell_the_keys_of_those_that_inherit() {
    let schema = "CREATE TABLE bienes (id bigint, tienda_id bigint, valor numeric);
        CREATE TABLE coches (km int) INHERITS (bienes); CREATE TABLE camiones (ejes int) INHERITS (coches);";
    let by_key = |columns: &[&str]| by_columns("coches", &["tienda_id"], columns);
    let mut scene = Scene::bare(schema).await;
    scene
        .install(&stream(&["tienda_id"], vec![by_key(&["valor"])]))
        .await;
    scene.watch_tiendas(1..=20).await;
    scene
        .check(&[
            (
                "INSERT INTO coches VALUES (1, 1, 0, 0); INSERT INTO camiones VALUES (2, 2, 0, 0, 3)",
                &["1", "2"],
            ),
            ("UPDATE bienes SET valor = 1 WHERE id = 1", &["1"]),
            ("UPDATE bienes SET tienda_id = 3 WHERE id = 2", &["2", "3"]),
            ("UPDATE bienes SET id = 4 WHERE id = 2", &[]),
            ("DELETE FROM bienes WHERE id = 1", &["1"]),
        ])
        .await;

    // The parent has no km: what changes through it concerns any key.
    scene
        .install(&stream(&["tienda_id"], vec![by_key(&["valor", "km"])]))
        .await;
    scene
        .check(&[
            ("UPDATE bienes SET valor = 2 WHERE id = 4", &["*"]),
            ("UPDATE bienes SET id = 5 WHERE id = 4", &[]),
            ("UPDATE coches SET km = 5", &["3"]),
            ("DELETE FROM bienes", &["*"]),
        ])
        .await;

    let every = entry("coches", KeyRoute::EveryKey, &["km"]);
    let parent = entry("bienes", KeyRoute::EveryKey, &["valor"]);
    scene
        .install(&stream(&["tienda_id"], vec![every, parent]))
        .await;
    scene
        .check(&[
            ("INSERT INTO bienes VALUES (1, 1, 1)", &["*"]),
            ("UPDATE bienes SET valor = 3", &["*"]),
            ("DELETE FROM bienes", &["*"]),
        ])
        .await;
    scene.database.uninstall(&[]).await.unwrap();
    scene
        .check(&[("INSERT INTO bienes VALUES (1, 1, 1)", &[])])
        .await;
}

#[tokio::test]
async fn without_the_gate_a_partition_is_told_through_its_parent() {
    let mut scene = Scene::bare(&format!("{SCHEMA}{PARTITIONED}")).await;
    scene.database = open(scene.home.url(), false);
    let by_key = by_columns("lineas_a", &["pedido_id"], &["cantidad"]);
    scene.install(&stream(&["tienda_id"], vec![by_key])).await;
    scene
        .check(&[
            ("INSERT INTO lineas VALUES (1, 1, 1)", &["1"]),
            ("UPDATE lineas SET cantidad = 2", &["1"]),
            ("DELETE FROM lineas_a", &["1"]),
        ])
        .await;
}

#[tokio::test]
async fn row_triggers_ignore_a_partition_key_that_is_not_listed() {
    let mut scene = Scene::bare(&format!("{SCHEMA}{PARTITIONED}")).await;
    let by_key = by_columns("lineas_a", &["pedido_id"], &["precio"]);
    let catalog = stream(&["tienda_id"], vec![by_key]);
    scene.install(&catalog).await;
    scene.watch_tiendas(1..=20).await;
    scene
        .check(&[
            ("INSERT INTO lineas VALUES (1, 1, 1)", &["1"]),
            ("UPDATE lineas SET cantidad = 2", &[]),
            ("UPDATE lineas SET cantidad = 12", &["1"]),
            ("UPDATE lineas SET cantidad = 3", &["1"]),
        ])
        .await;

    scene.database = open(scene.home.url(), false);
    scene.install(&catalog).await;
    scene
        .check(&[
            ("UPDATE lineas SET cantidad = 12", &["1"]),
            ("UPDATE lineas SET cantidad = 3", &["1"]),
        ])
        .await;
}

#[tokio::test]
async fn a_former_parent_loses_the_triggers() {
    let schema =
        "CREATE TABLE bienes (id bigint, valor numeric); CREATE TABLE coches () INHERITS (bienes);";
    let scene = Scene::bare(schema).await;
    let coches = entry("coches", KeyRoute::EveryKey, &["valor"]);
    let catalog = stream(&["tienda_id"], vec![coches]);
    scene.install(&catalog).await;
    assert_eq!(scene.tables_with_triggers().await, "bienes coches");

    let alter = "ALTER TABLE coches NO INHERIT bienes";
    scene.other.batch_execute(alter).await.unwrap();
    let findings = examine(&scene.database, &catalog).await;
    let strays = findings
        .iter()
        .find(|finding| finding.detail.contains("bienes"));
    assert_eq!(strays.unwrap().level, FindingLevel::Warning);

    let migration = scene.database.migration(&catalog, &[]).await.unwrap();
    let migration = migration.unwrap();
    scene.other.batch_execute(&migration.up).await.unwrap();
    assert_eq!(scene.tables_with_triggers().await, "coches");
    scene.other.batch_execute(&migration.down).await.unwrap();
    assert_eq!(scene.tables_with_triggers().await, "bienes coches");

    let change = |changes: Vec<InstallChange>| {
        let mut changes = changes.into_iter();
        changes.find(|change| !matches!(change, InstallChange::Warning(_)))
    };
    let subject = "\"public\".\"coches\" for stream ventas".to_owned();
    let changes = scene.database.install(&catalog).await.unwrap();
    let installed = InstallChange::Installed(subject.clone());
    assert_eq!(change(changes), Some(installed));
    assert_eq!(scene.tables_with_triggers().await, "coches");
    let changes = scene.database.install(&catalog).await.unwrap();
    assert_eq!(change(changes), Some(InstallChange::Unchanged(subject)));
}

#[tokio::test]
async fn a_table_that_is_listed_twice_has_two_functions_for_its_parent() {
    let schema = "CREATE TABLE bienes (id bigint, tienda_id bigint, otra_id bigint, valor numeric);
        CREATE TABLE coches (km int) INHERITS (bienes); CREATE TABLE camiones () INHERITS (coches);";
    let mut scene = Scene::bare(schema).await;
    let tables = vec![
        by_columns("coches", &["tienda_id"], &["km", "valor"]),
        by_columns("coches", &["otra_id"], &["km"]),
    ];
    scene.install(&stream(&["tienda_id"], tables)).await;
    scene.watch_tiendas(1..=20).await;
    scene
        .check(&[
            ("INSERT INTO coches VALUES (1, 1, 2, 0, 0)", &["1", "2"]),
            ("UPDATE bienes SET valor = 2", &["*"]),
            ("UPDATE bienes SET id = 2", &[]),
        ])
        .await;
}
