//! The history query of a stream: its form, its rows, and the streams whose history cannot be used.

use latido_base::ident::{Key, StreamId};
use latido_postgres::{Config, Database, DatabaseError};
use latido_stream::{Catalog, HistoryLimits, Stream};

use super::pooler_proxy::{PoolerBehaviour, PoolerProxy};
use super::reading::{keys, today};
use super::{empty_database, estadisticas, schema_database};

const LIMITS: HistoryLimits = HistoryLimits {
    rows: 3,
    bytes: 1_000,
};

fn numbers(history: &str) -> Catalog {
    Catalog::new(vec![Stream {
        query: "SELECT k, 1 AS n FROM unnest($1::bigint[]) AS u (k)".to_owned(),
        history_query: Some(history.to_owned()),
        authorize_query: None,
        tables: Vec::new(),
        ..estadisticas()
    }])
}

async fn problem_of(database: &Database, history: &str) -> Option<DatabaseError> {
    let catalog = numbers(history);
    database.prepare(&catalog).await.unwrap();
    let stream = catalog.get(StreamId(0));
    let rows = database.read(stream, &keys(&["7"]), &[today()]).await;
    assert_eq!(rows.unwrap().len(), 1, "the stream works: {history}");
    database.history_problem(stream)
}

#[tokio::test]
async fn history_of_another_form_is_refused_and_the_stream_is_not() {
    let (_home, _client, database) = schema_database().await;
    for (history, expected) in [
        (
            "SELECT k, 1 AS n FROM unnest($1::uuid[]) AS u (k)",
            "$1 as in the stream's query, int8[]",
        ),
        (
            "SELECT k, 1 AS n FROM unnest($1::bigint[], $2::text[]) AS u (k, t)",
            "today of each key",
        ),
        (
            "SELECT k::text, 1 AS n FROM unnest($1::bigint[]) AS u (k)",
            "the key as first column",
        ),
        (
            "SELECT k FROM unnest($1::bigint[]) AS u (k)",
            "data columns",
        ),
        ("SELECT k, nada FROM unnest($1::bigint[]) AS u (k)", "nada"),
        ("SELECT 1; SELECT 2", "one statement"),
        (
            "SELECT k, 1 AS latido_asked FROM unnest($1::bigint[]) AS u (k)",
            "latido_asked",
        ),
        (
            "SELECT k, 1 AS n FROM unnest($1::bigint[]) AS LATIDO_ASKED (k)",
            "latido_asked",
        ),
    ] {
        let problem = problem_of(&database, history).await;
        let text = problem.expect(history).to_string();
        assert!(text.contains("the history of stream"), "{text}");
        assert!(text.contains(expected), "{text}");
        let checked = database.check_streams(&numbers(history)).await;
        let warnings = match checked {
            Ok(changes) => format!("{changes:?}"),
            Err(error) => error.to_string(),
        };
        assert!(warnings.contains(expected), "{warnings}");
    }
    let good = "SELECT k, d, 1 AS n FROM unnest($1::int[], $2::timestamptz[]) AS u (k, d); -- end";
    assert_eq!(problem_of(&database, good).await, None);
}

#[tokio::test]
async fn rows_are_limited_for_each_key_by_number_and_bytes() {
    let (_home, _client, database) = schema_database().await;
    // Key 1 has no row, key 9 has rows of 400 bytes; others have as many rows as they say, the last
    // first.
    let catalog = numbers(
        "SELECT u.k, n, repeat('x', CASE WHEN u.k = 9 THEN 400 ELSE 1 END) AS t
         FROM unnest($1::bigint[]) AS u (k) CROSS JOIN LATERAL generate_series(1, u.k - 1) AS n ORDER BY n DESC",
    );
    database.prepare(&catalog).await.unwrap();
    let stream = catalog.get(StreamId(0));
    let asked = keys(&["5", "1", "4", "9", "99999999999999999999"]);
    let days = vec![today(); asked.len()];
    let mut histories = database
        .read_history(stream, &asked, &days, LIMITS)
        .await
        .unwrap();
    histories.sort_by(|a, b| a.key.cmp(&b.key));
    let shown = histories.iter().map(|history| {
        let rows: Vec<serde_json::Value> =
            serde_json::from_str(&format!("[{}]", history.rows)).unwrap();
        let numbers: Vec<_> = rows.iter().map(|row| row["n"].as_i64().unwrap()).collect();
        (
            history.key.as_str(),
            numbers,
            history.count,
            history.is_truncated,
        )
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            ("1", vec![], 0, false),
            ("4", vec![3, 2, 1], 3, false),
            ("5", vec![4, 3, 2], 3, true),
            ("9", vec![8, 7], 2, true),
        ]
    );
    let names: Vec<_> = database.history_columns(stream).unwrap();
    let names: Vec<_> = names.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["n", "t"]);
}

#[tokio::test]
async fn history_follows_a_migration() {
    let (_home, client, database) = schema_database().await;
    let catalog = Catalog::new(vec![Stream {
        history_query: Some(
            "SELECT u.k, c.estado FROM unnest($1::uuid[]) AS u (k) JOIN citas c ON c.negocio_id = u.k"
                .to_owned(),
        ),
        ..estadisticas()
    }]);
    database.prepare(&catalog).await.unwrap();
    let stream = catalog.get(StreamId(0));
    let key = [Key::from_canonical(super::A)];
    let read = async || {
        database
            .read_history(stream, &key, &[today()], LIMITS)
            .await
    };
    assert!(read().await.is_ok());
    client
        .batch_execute("ALTER TABLE citas RENAME estado TO situacion")
        .await
        .unwrap();
    assert!(read().await.is_err());
    client
        .batch_execute("ALTER TABLE citas RENAME situacion TO estado")
        .await
        .unwrap();
    assert!(read().await.is_ok(), "{:?}", read().await);
}

#[tokio::test]
async fn history_is_read_through_a_pooler_as_directly() {
    let (_home, client, url) = empty_database().await;
    let tables = "CREATE TABLE t (k bigint, n int); INSERT INTO t VALUES (1, 1), (2, 3), (2, 2)";
    client.batch_execute(tables).await.unwrap();
    let history =
        "SELECT u.k, t.n FROM unnest($1::bigint[]) AS u (k) JOIN t ON t.k = u.k ORDER BY t.n";
    let refuse_options = PoolerBehaviour {
        refuse_options: true,
        ..PoolerBehaviour::default()
    };
    let drop_options = PoolerBehaviour {
        drop_options: true,
        ..PoolerBehaviour::default()
    };
    let lose_statements = PoolerBehaviour {
        lose_statements: true,
        ..PoolerBehaviour::default()
    };
    for behaviour in [refuse_options, drop_options, lose_statements] {
        let proxy = PoolerProxy::start(&url, behaviour).await;
        let database = Database::open(&Config::new(&proxy.url)).unwrap();
        let catalog = numbers(history);
        database.prepare(&catalog).await.unwrap();
        let stream = catalog.get(StreamId(0));
        let read = async || {
            let (asked, days) = (keys(&["2", "1"]), vec![today(); 2]);
            let read = database.read_history(stream, &asked, &days, LIMITS).await;
            let mut histories = read.unwrap();
            histories.sort_by(|a, b| a.key.cmp(&b.key));
            histories
                .into_iter()
                .map(|h| h.rows)
                .collect::<Vec<_>>()
                .join(";")
        };
        for _ in 0..3 {
            assert_eq!(read().await, r#"{"n":1};{"n":2},{"n":3}"#, "{behaviour:?}");
        }
        // The plan of a statement that the pooler's sessions know is out of date.
        let migrate = async |of: &str| {
            let sql = format!("ALTER TABLE t ALTER n TYPE {of} USING n::{of}");
            client.batch_execute(&sql).await.unwrap();
        };
        migrate("text").await;
        assert_eq!(
            read().await,
            r#"{"n":"1"};{"n":"2"},{"n":"3"}"#,
            "{behaviour:?}"
        );
        migrate("int").await;
        assert_eq!(read().await, r#"{"n":1};{"n":2},{"n":3}"#, "{behaviour:?}");
        assert!(database.is_pooled(), "{behaviour:?}");
    }
}
