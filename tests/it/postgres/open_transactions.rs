//! The open transactions, as a role without any right sees them.

use latido_postgres::{Config, Database};
use latido_stream::{OpenTransaction, TransactionSource};
use tokio_postgres::Client;

use super::empty_database;
use crate::harness::cluster::{OwnCluster, connect};

const ROLE_FILES: [&str; 3] = ["sql/schema.sql", "tests/it/sql/people.sql", "sql/role.sql"];

async fn open_transactions(database: &Database) -> Vec<OpenTransaction> {
    let mut found = database.open_transactions().await.unwrap();
    found.sort();
    found
}

async fn begin(url: &str, isolation: &str) -> Client {
    let client = connect(url).await;
    let sql = format!("BEGIN ISOLATION LEVEL {isolation}; SELECT 1");
    client.batch_execute(&sql).await.unwrap();
    client
}

#[tokio::test]
async fn every_transaction_of_the_database_is_seen_until_it_ends() {
    let (home, _client, url) = empty_database().await;
    let (_other, _client, other_url) = empty_database().await;
    let database = Database::open(&Config::new(url)).unwrap();
    let _elsewhere = begin(&other_url, "SERIALIZABLE").await;
    assert_eq!(open_transactions(&database).await, []);
    let writer = begin(home.url(), "READ COMMITTED").await;
    let of_writer = open_transactions(&database).await;
    assert_eq!(of_writer.len(), 1);
    let create = "CREATE TABLE t (); SELECT 1";
    writer.batch_execute(create).await.unwrap();
    assert_eq!(open_transactions(&database).await, of_writer, "one name");
    // It has no transaction id, since it only reads.
    let reader = begin(home.url(), "REPEATABLE READ").await;
    assert_eq!(open_transactions(&database).await.len(), 2);
    writer.batch_execute("COMMIT").await.unwrap();
    let of_reader = open_transactions(&database).await;
    assert!(of_reader.len() == 1 && of_reader != of_writer);
    reader
        .batch_execute("ROLLBACK; BEGIN; SELECT 1")
        .await
        .unwrap();
    assert_ne!(open_transactions(&database).await, of_reader, "a new one");
    reader.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(open_transactions(&database).await, []);
}

#[tokio::test]
async fn prepared_transaction_is_seen_without_any_grant() {
    let mut cluster = OwnCluster::start(&ROLE_FILES).await;
    let owner = cluster.client().await;
    let setting = "ALTER SYSTEM SET max_prepared_transactions = 2";
    owner.batch_execute(setting).await.unwrap();
    cluster.kill().await;
    cluster.restart().await;
    let owner = cluster.client().await;
    let url = cluster.url().replacen("postgres@", "latido@", 1);
    let database = Database::open(&Config::new(url)).unwrap();
    let begin = "BEGIN; CREATE TABLE t ()";
    owner.batch_execute(begin).await.unwrap();
    let before = open_transactions(&database).await;
    assert!(before.len() == 1 && !before[0].is_prepared);
    let prepare = "PREPARE TRANSACTION 'x'";
    owner.batch_execute(prepare).await.unwrap();
    let prepared = open_transactions(&database).await;
    assert!(
        prepared.len() == 1 && prepared[0].is_prepared,
        "{prepared:?}"
    );
    owner.batch_execute("COMMIT PREPARED 'x'").await.unwrap();
    assert_eq!(open_transactions(&database).await, []);
}
