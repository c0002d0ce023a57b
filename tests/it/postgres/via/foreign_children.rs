//! Tables with a foreign table below them. Statement triggers that read the rows of a statement would
//! fail every write of such a table that reaches the foreign one.

use latido_postgres::{FindingLevel, InstallChange, examine};
use latido_stream::{Catalog, KeyRoute};

use super::ancestors::PARTITIONED;
use super::{LOOKUP, SCHEMA, Scene, by_columns, entry, open, pedidos, stream, via};
use crate::harness::report_not_tested;

const SERVER: &str =
    "CREATE FOREIGN DATA WRAPPER nada; CREATE SERVER lejos FOREIGN DATA WRAPPER nada;";
const FAR_PARTITION: &str =
    "CREATE FOREIGN TABLE lineas_lejos PARTITION OF lineas_b FOR VALUES IN ('lejos') SERVER lejos;";

/// Installs, and returns the warnings about foreign tables.
async fn install(scene: &Scene, catalog: &Catalog) -> Vec<String> {
    let changes = scene.database.install(catalog).await.unwrap();
    let report = scene.database.triggers(catalog).await.unwrap();
    assert!(report.are_current(), "{report:?}");
    let warning = |change| match change {
        InstallChange::Warning(text) if text.contains("foreign") => Some(text),
        _ => None,
    };
    changes.into_iter().filter_map(warning).collect()
}

#[tokio::test]
async fn tables_above_a_partition_and_a_foreign_table_get_no_triggers() {
    let schema = format!("{SCHEMA}{PARTITIONED}{SERVER}{FAR_PARTITION}");
    let mut scene = Scene::bare(&schema).await;
    let lineas = via("lineas_b1", LOOKUP, &["pedido_id"]);
    let catalog = stream(&["tienda_id"], vec![pedidos(), lineas]);
    let warnings = install(&scene, &catalog).await;
    assert_eq!(scene.tables_with_triggers().await, "lineas_b1");
    let expected = "stream ventas, table lineas_b1: \"public\".\"lineas_b\", \"public\".\"lineas\" have a foreign table below them";
    assert!(
        warnings.len() == 1 && warnings[0].starts_with(expected),
        "{warnings:?}"
    );

    scene.watch_tiendas(1..=20).await;
    scene
        .check(&[
            ("INSERT INTO lineas VALUES (1, 1, 11, 1, 'x')", &[]),
            ("INSERT INTO lineas_b1 VALUES ('x', 1, 12, 2, 2)", &["2"]),
            ("UPDATE lineas_b1 SET pedido_id = 3", &["1", "2", "3"]),
        ])
        .await;
    let changes = scene.database.install(&catalog).await.unwrap();
    let is_installed = |change: &InstallChange| matches!(change, InstallChange::Installed(_));
    assert!(!changes.iter().any(is_installed), "{changes:?}");
    let findings = examine(&scene.database, &catalog).await;
    let is_meant =
        |detail: &str| detail.contains("have a foreign table below") && detail.contains("sweep");
    let found = findings.iter().find(|finding| is_meant(&finding.detail));
    assert_eq!(found.unwrap().level, FindingLevel::Warning);
}

#[tokio::test]
async fn listed_tables_above_a_foreign_table_get_no_triggers() {
    let schema = format!("{SCHEMA}{PARTITIONED}{SERVER}{FAR_PARTITION}");
    let mut scene = Scene::bare(&schema).await;
    let lineas = via("lineas", LOOKUP, &["pedido_id"]);
    let catalog = stream(&["tienda_id"], vec![pedidos(), lineas]);
    let warnings = install(&scene, &catalog).await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(
        scene.tables_with_triggers().await,
        "lineas_a lineas_b1 lineas_b2"
    );
    scene.watch_tiendas(1..=20).await;
    scene
        .check(&[
            ("INSERT INTO lineas VALUES (1, 1, 11, 1, 'x')", &[]),
            ("INSERT INTO lineas_a VALUES (2, 2, 1, 1, 'x')", &["2"]),
            ("DELETE FROM lineas_b1", &["1"]),
        ])
        .await;
}

#[tokio::test]
async fn a_table_with_nothing_but_foreign_tables_below_gets_row_triggers_or_none() {
    let schema = format!(
        "{SERVER} CREATE TABLE bienes (id bigint, tienda_id bigint, valor numeric);
        CREATE FOREIGN TABLE coches () INHERITS (bienes) SERVER lejos;"
    );
    let mut scene = Scene::bare(&schema).await;
    let bienes = by_columns("bienes", &["tienda_id"], &["valor"]);
    let catalog = stream(&["tienda_id"], vec![bienes]);
    assert_eq!(install(&scene, &catalog).await, [""; 0]);
    scene.watch_tiendas(1..=20).await;
    let insert = "INSERT INTO bienes VALUES (1, 1, 1)";
    scene.check(&[(insert, &["1"])]).await;

    let every = entry("bienes", KeyRoute::EveryKey, &["valor"]);
    let catalog = stream(&["tienda_id"], vec![every]);
    assert_eq!(install(&scene, &catalog).await.len(), 1);
    scene.check(&[(insert, &[])]).await;
    scene.database = open(scene.home.url(), false);
    assert_eq!(install(&scene, &catalog).await.len(), 1);
    assert_eq!(scene.tables_with_triggers().await, "");
    scene.check(&[(insert, &[])]).await;
    let changes = scene.database.install(&catalog).await.unwrap();
    let is_installed = |change: &InstallChange| matches!(change, InstallChange::Installed(_));
    assert!(!changes.iter().any(is_installed), "{changes:?}");
}

#[tokio::test]
async fn an_installation_removes_triggers_above_a_new_foreign_table() {
    let scene = Scene::bare(&format!("{SCHEMA}{PARTITIONED}{SERVER}")).await;
    let lineas = via("lineas_b1", LOOKUP, &["pedido_id", "cantidad", "nota"]);
    let catalog = stream(&["tienda_id"], vec![pedidos(), lineas]);
    scene.install(&catalog).await;
    assert_eq!(
        scene.tables_with_triggers().await,
        "lineas lineas_b lineas_b1"
    );
    scene.other.batch_execute(FAR_PARTITION).await.unwrap();
    assert_eq!(install(&scene, &catalog).await.len(), 1);
    assert_eq!(scene.tables_with_triggers().await, "lineas_b1");
}

/// Needs the extension `postgres_fdw`, which some packages of PostgreSQL lack.
#[tokio::test]
async fn writes_reach_a_foreign_table_as_before() {
    let mut scene = Scene::bare(&format!("{SCHEMA}{PARTITIONED}")).await;
    let available = "SELECT 1 FROM pg_available_extensions WHERE name = 'postgres_fdw'";
    let found = scene.other.query_opt(available, &[]).await.unwrap();
    if found.is_none() {
        return report_not_tested("writes to a foreign partition, for want of postgres_fdw");
    }
    // The same database, as if it were another.
    let far = "CREATE EXTENSION postgres_fdw;
        DO $$ BEGIN EXECUTE format('CREATE SERVER lejos FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L)',
          split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database()); END $$;
        CREATE USER MAPPING FOR CURRENT_USER SERVER lejos;
        CREATE TABLE remotas (nota text, precio numeric, cantidad int, pedido_id bigint, id bigint);
        CREATE FOREIGN TABLE lineas_lejos PARTITION OF lineas_b FOR VALUES IN ('lejos') SERVER lejos OPTIONS (table_name 'remotas');";
    scene.other.batch_execute(far).await.unwrap();
    for table in ["lineas_b1", "lineas"] {
        let lineas = via(table, LOOKUP, &["pedido_id"]);
        let catalog = stream(&["tienda_id"], vec![pedidos(), lineas]);
        let warnings = install(&scene, &catalog).await;
        scene.watch_tiendas(1..=20).await;
        scene
            .check(&[
                ("INSERT INTO lineas VALUES (1, 1, 11, 1, 'lejos')", &[]),
                ("UPDATE lineas SET precio = 2 WHERE nota = 'lejos'", &[]),
                ("DELETE FROM lineas", &[]),
            ])
            .await;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    }
}
