//! Installations as migrations: what a tool applies, and what leads back.

use std::sync::Arc;

use latido_postgres::{Config, Database, InstallChange, Migration};
use latido_stream::{Catalog, KeyRoute, SourceTable, Stream};
use tokio_postgres::Client;

use super::triggers::GATE_SETTINGS;
use super::{catalog, empty_database, estadisticas, schema_database, table};
use crate::harness::cluster::TestDatabase;

/// All that an installation consists of, as text.
const OBJECTS: &str = "
    SELECT coalesce(string_agg(line, E'\\n' ORDER BY line), '') FROM (
      SELECT pg_get_functiondef(p.oid) || obj_description(p.oid, 'pg_proc') || proacl::text AS line
        FROM pg_proc p WHERE pronamespace = to_regnamespace('latido')
      UNION ALL SELECT pg_get_triggerdef(oid) || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
      UNION ALL SELECT nspname || obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'latido') AS all_lines";

async fn objects(client: &Client) -> String {
    client.query_one(OBJECTS, &[]).await.unwrap().get(0)
}

async fn migration(database: &Database, catalog: &Catalog) -> Migration {
    let migration = database.migration(catalog, &[]).await.unwrap();
    migration.expect("there is something to do")
}

/// Runs SQL as a migration tool does: in its transaction, in which it also writes its own tables.
async fn apply(client: &Client, sql: &str) {
    let text = "SELECT set_config('search_path', 'tools, public', true)";
    let settings =
        "SELECT concat_ws(';', current_setting('search_path'), current_setting('lock_timeout'),
                    current_setting('statement_timeout'), current_setting('row_security'))";
    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute(text).await.unwrap();
    let before: String = client.query_one(settings, &[]).await.unwrap().get(0);
    let applied = client.batch_execute(sql).await;
    applied.unwrap_or_else(|error| panic!("{error:?} in:\n{sql}"));
    let after: String = client.query_one(settings, &[]).await.unwrap().get(0);
    assert_eq!(before, after, "the tool goes on as before");
    client.batch_execute("COMMIT").await.unwrap();
}

/// A database with the user's schema, and one with notes, of which a lookup finds the keys.
async fn place(interest_gate: bool) -> (TestDatabase, Client, Database) {
    let (home, client, _) = schema_database().await;
    let part = "CREATE TABLE notas (cita_id uuid, negocio_id uuid, texto text) PARTITION BY HASH (cita_id);
                CREATE TABLE notas_0 PARTITION OF notas FOR VALUES WITH (MODULUS 1, REMAINDER 0);
                CREATE TABLE \"Otra tabla\" (negocio_id uuid, \"$latido$\" text);";
    client.batch_execute(part).await.unwrap();
    let config = Config {
        interest_gate,
        ..Config::new(home.url())
    };
    let database = Database::open(&config).unwrap();
    (home, client, database)
}

fn lookup() -> KeyRoute {
    KeyRoute::Lookup("SELECT k.negocio_id FROM changed c JOIN citas k ON k.id = c.cita_id".into())
}

#[tokio::test]
async fn the_first_migration_installs_and_its_way_back_leaves_nothing() {
    for gate in GATE_SETTINGS {
        check_the_first_migration(gate).await;
    }
}

async fn check_the_first_migration(gate: bool) {
    let (_home, client, database) = place(gate).await;
    let before = objects(&client).await;
    let streams = vec![estadisticas(), stream("notas", lookup(), &["notas"])];
    let catalog = Arc::new(Catalog::new(streams));
    let Migration { up, down } = migration(&database, &catalog).await;
    assert_eq!(objects(&client).await, before, "nothing is done yet");

    apply(&client, &up).await;
    assert!(database.triggers(&catalog).await.unwrap().are_current());
    let changes = database.install(&catalog).await.unwrap();
    let is_unchanged = |change: &InstallChange| matches!(change, InstallChange::Unchanged(_));
    assert!(changes.iter().all(is_unchanged), "{changes:?}");
    assert_eq!(database.migration(&catalog, &[]).await.unwrap(), None);

    apply(&client, &down).await;
    assert_eq!(objects(&client).await, before);
    // A tool may go up again, and so may somebody who went back twice.
    apply(&client, &down).await;
    apply(&client, &up).await;
    assert!(database.triggers(&catalog).await.unwrap().are_current());
}

fn stream(name: &str, route: KeyRoute, tables: &[&str]) -> Stream {
    let entry = |table: &&str| SourceTable {
        name: (*table).to_owned(),
        route: route.clone(),
        columns: Vec::new(),
    };
    Stream {
        name: name.to_owned(),
        tables: tables.iter().map(entry).collect(),
        ..estadisticas()
    }
}

#[tokio::test]
async fn the_way_back_restores_what_was_installed_before() {
    for gate in GATE_SETTINGS {
        check_the_way_back(gate).await;
    }
}

async fn check_the_way_back(gate: bool) {
    let (_home, client, database) = place(gate).await;
    let columns = KeyRoute::Columns(vec!["negocio_id".to_owned()]);
    let old = Arc::new(Catalog::new(vec![
        estadisticas(),
        stream("quedan", columns.clone(), &["\"Otra tabla\""]),
        stream("notas", lookup(), &["notas"]),
        stream("se_van", KeyRoute::EveryKey, &["citas", "notas"]),
    ]));
    database.install(&old).await.unwrap();
    // Somebody has chosen that a trigger stays away from replicas.
    client
        .batch_execute("ALTER TABLE notas ENABLE TRIGGER USER")
        .await
        .unwrap();
    let before = objects(&client).await;

    let citas = [table("citas", Some("negocio_id"), &["negocio_id", "nota"])];
    let new = Arc::new(Catalog::new(vec![
        Stream {
            tables: citas.into(),
            ..estadisticas()
        },
        stream("quedan", columns.clone(), &["\"Otra tabla\""]),
        stream("notas", columns, &["notas", "\"Otra tabla\""]),
    ]));
    let Migration { up, down } = migration(&database, &new).await;
    apply(&client, &up).await;
    assert!(database.triggers(&new).await.unwrap().are_current());
    assert_eq!(database.migration(&new, &[]).await.unwrap(), None);
    let after = objects(&client).await;
    assert_ne!(after, before);

    apply(&client, &down).await;
    assert_eq!(objects(&client).await, before);
    apply(&client, &up).await;
    assert_eq!(objects(&client).await, after);
}

#[tokio::test]
async fn a_table_that_cannot_be_watched_gives_no_migration() {
    let (_home, client, url) = empty_database().await;
    client
        .batch_execute("CREATE TABLE otra (id int)")
        .await
        .unwrap();
    let error = connect_to(&url)
        .migration(&catalog(vec![table("citas", Some("negocio_id"), &[])]), &[])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("citas"), "{error}");
}

fn connect_to(url: &str) -> Database {
    Database::open(&Config::new(url.to_owned())).unwrap()
}
