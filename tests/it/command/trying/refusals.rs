//! What `latido try` refuses to show, what it cannot see, and how it says so.

use super::{PLAIN, Trial};

#[tokio::test(flavor = "multi_thread")]
async fn try_says_what_it_cannot_see() {
    let query = "SELECT (SELECT sum(suma) FROM resumen) AS suma, (SELECT count(*) FROM notas) AS notas, cuenta(7) AS cuenta";
    let trial = Trial::new(query).await;
    let page = trial.start(&[]).await;
    page.events("?key=")
        .await
        .wait_for_row(&["5050.00", "1", "50"])
        .await;
    let query = page.query().await;
    let unseen = query["unseen"].to_string();
    assert!(
        unseen.contains("row-level security applies to notas"),
        "{unseen}"
    );
    assert!(
        unseen.contains("cuenta") && unseen.contains("hides which tables"),
        "{unseen}"
    );
    assert!(
        query["notes"].to_string().contains("through the view"),
        "{query}"
    );
    page.end().await;
    let message = trial.refusal("SELECT count(*) AS n FROM secretos").await;
    assert!(
        message.contains("permission denied for table secretos"),
        "{message}"
    );
    assert!(
        message.contains(r#"GRANT SELECT ON "public"."secretos" TO "lector""#),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn try_never_writes() {
    let trial = Trial::new(PLAIN).await;
    let before = trial.traces().await;
    for (query, expected) in [
        ("SELECT anota() AS n", "`latido try` never writes"),
        (
            "WITH x AS (INSERT INTO notas VALUES (7, 'c') RETURNING 1) SELECT count(*) AS n FROM x",
            "it writes or locks (INSERT",
        ),
        (
            "SELECT set_config('default_transaction_read_only', 'off', false) AS a",
            "it writes or locks (set_config)",
        ),
        (
            "SELECT pg_advisory_lock(1) IS NULL AS n",
            "it writes or locks (pg_advisory_lock)",
        ),
        ("SELECT count(*) AS n FROM pedidos FOR UPDATE", "FOR UPDATE"),
        ("SELECT 1 AS n; DELETE FROM notas", "several statements"),
        ("COMMIT", "returns no rows"),
    ] {
        let message = trial.refusal(query).await;
        assert!(message.contains(expected), "{query}: {message}");
    }
    // A function that frees its session of the rule, for the next read.
    let sneaky = "SELECT suelta() AS n, clock_timestamp() AS leido";
    trial.home.folder().write("q.sql", sneaky);
    let page = trial.start(&[]).await;
    let mut events = page.events("?key=").await;
    for _ in 0..3 {
        let row = events.wait_for("row", |row| row["state"] == "live").await;
        assert_eq!(row["fields"][0]["text"], "on");
    }
    page.end().await;
    let row = trial
        .owner
        .query_one("SELECT count(*) FROM notas", &[])
        .await;
    assert_eq!(row.unwrap().get::<_, i64>(0), 2);
    assert_eq!(
        trial.traces().await,
        before,
        "it wrote or created something"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn try_explains_what_to_write() {
    let trial = Trial::new(PLAIN).await;
    for (query, expected) in [
        ("", "the file is empty"),
        ("-- nothing\n", "the file is empty"),
        (
            "SELECT\n  coun(*) AS n FROM pedidos",
            "line 2:   coun(*) AS n FROM pedidos\n          ^",
        ),
        ("SELECT count(*), count(*) FROM pedidos", "distinct names"),
        ("SELECT 1 / 0 AS n", "division by zero"),
        ("SELECT tienda_id FROM pedidos", "returns several rows"),
    ] {
        let message = trial.refusal(query).await;
        assert!(message.contains(expected), "{query}: {message}");
    }
    for query in [
        "SELECT tienda_id, count(*) AS n FROM pedidos GROUP BY tienda_id -- by shop",
        "SELECT count(*) AS n FROM pedidos p WHERE p.tienda_id = $1",
    ] {
        let message = trial.refusal(query).await;
        let (_, example) = message.split_once("For example:\n\n").expect(&message);
        trial.home.folder().write("q.sql", example);
        let page = trial.start(&[]).await;
        assert_eq!(
            page.query().await["keys"][0]["name"],
            "tienda_id",
            "{example}"
        );
        page.events("?key=8").await.wait_for_row(&["50"]).await;
        page.end().await;
    }
    let missing = trial.run(&["other.sql"]).await;
    assert!(
        missing.stderr.contains("other.sql cannot be read"),
        "{missing:?}"
    );
    let no_database = trial.home.run(&["try", "q.sql"], &[]).await;
    assert_eq!(no_database.code, Some(2), "{no_database:?}");
}
