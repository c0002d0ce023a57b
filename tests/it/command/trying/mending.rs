//! What was wrong is mended while the page of `latido try` is open.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{PLAIN, Trial, TrialPage};

/// The pause after a query that took too long is long. A better text does not wait for its end.
#[tokio::test(flavor = "multi_thread")]
async fn try_shows_a_mended_query_before_the_pause_of_a_slow_one_ends() {
    const TIMEOUT: Duration = Duration::from_secs(5);
    // It is fast without keys, so that it can be shown.
    let slow = "SELECT k.tienda_id, s.* FROM unnest($1::bigint[]) AS k (tienda_id) \
        CROSS JOIN LATERAL (SELECT count(*) AS n, pg_sleep(k.tienda_id) AS d FROM tiendas) s";
    let trial = Trial::new(slow).await;
    let url = trial.url();
    let variables = [
        ("DATABASE_URL", &*url),
        ("PORT", "0"),
        ("STATEMENT_TIMEOUT_SECONDS", "5"),
    ];
    let page = TrialPage::start_with(&trial.home, &["try", "q.sql"], &variables).await;
    let mut events = page.events("?key=60").await;
    let failed = events.wait_for("row", |row| row["state"] == "failed").await;
    let message = failed["message"].as_str().unwrap();
    assert!(message.contains("STATEMENT_TIMEOUT_SECONDS"), "{message}");
    let failed_at = Instant::now();
    let mended = slow.replace("pg_sleep(k.tienda_id)", "1");
    trial.home.folder().write("q.sql", &mended);
    events
        .wait_for("text", |text| text["generation"] == 2)
        .await;
    let mut events = page.events("?key=60").await;
    events.wait_for_row(&["2", "1"]).await;
    let shown_after = failed_at.elapsed();
    assert!(shown_after < 3 * TIMEOUT, "of 4: {shown_after:?}");
    page.end().await;
}

/// Editors replace a file, and a text may be taken back.
#[tokio::test(flavor = "multi_thread")]
async fn try_forgets_the_problem_of_a_file_that_is_as_before() {
    let trial = Trial::new(PLAIN).await;
    let page = trial.start(&[]).await;
    let mut events = page.events("?key=").await;
    events.wait_for_row(&["100", "5050.00"]).await;
    std::fs::remove_file(trial.home.folder().path().join("q.sql")).unwrap();
    let gone = events
        .wait_for("text", |text| !text["problem"].is_null())
        .await;
    assert!(gone["problem"].as_str().unwrap().contains("cannot be read"));
    trial.home.folder().write("q.sql", PLAIN);
    let is_mended = |text: &Value| text["problem"].is_null();
    events.wait_for("text", is_mended).await;
    // The table is locked for longer than a statement may take, and the other text is given up.
    let lock = "BEGIN; LOCK TABLE tiendas IN ACCESS EXCLUSIVE MODE";
    trial.owner.batch_execute(lock).await.unwrap();
    let other = "SELECT count(*) AS n FROM tiendas";
    trial.home.folder().write("q.sql", other);
    events.wait_for("text", |text| !is_mended(text)).await;
    trial.home.folder().write("q.sql", PLAIN);
    events.wait_for("text", is_mended).await;
    // The text stays, and the lock is released.
    trial.home.folder().write("q.sql", other);
    events.wait_for("text", |text| !is_mended(text)).await;
    trial.owner.batch_execute("ROLLBACK").await.unwrap();
    events.wait_for("text", is_mended).await;
    let mut events = page.events("?key=").await;
    events.wait_for_row(&["2"]).await;
    page.end().await;
}
