//! A row that goes to another key concerns both, whatever columns the configuration lists.

use latido_postgres::{Config, Database};

use super::triggers::{GATE_SETTINGS, NotificationTap, set, watch_everything};
use super::{A, B, catalog, schema_database, table};

#[tokio::test]
async fn a_key_column_counts_though_it_is_not_listed() {
    for interest_gate in GATE_SETTINGS {
        let (home, client, _) = schema_database().await;
        let config = Config {
            interest_gate,
            ..Config::new(home.url())
        };
        let database = Database::open(&config).unwrap();
        let listed = catalog(vec![table("citas", Some("negocio_id"), &["estado"])]);
        database.install(&listed).await.unwrap();
        assert!(database.triggers(&listed).await.unwrap().are_current());
        let mut tap = NotificationTap::open(client, &home).await;
        tap.watcher = Some(watch_everything(&home).await);
        let insert = format!("INSERT INTO citas (negocio_id) VALUES ('{A}')");
        assert_eq!(tap.keys(&insert).await, set(&[A]));
        let same = "UPDATE citas SET nota = 'x'";
        assert_eq!(tap.keys(same).await, set(&[]), "gate: {interest_gate}");
        let moved = format!("UPDATE citas SET negocio_id = '{B}'");
        assert_eq!(
            tap.keys(&moved).await,
            set(&[A, B]),
            "gate: {interest_gate}"
        );
    }
}
