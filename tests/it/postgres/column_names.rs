//! Columns of any name, above all those that the SQL around a query uses itself: nothing that it says
//! means the column of a person's query or table.

use std::collections::BTreeSet;

use latido_base::ident::{StreamId, UserId};
use latido_postgres::{Config, Database, FindingLevel, RowCount, examine_lookups};
use latido_stream::{
    Catalog, HistoryLimits, KeyRoute, SourceTable, Stream, VerificationQuery, ZoneRule,
};
use serde_json::{Value, json};

use super::reading::{keys, today};
use super::triggers::{GATE_SETTINGS, NotificationTap};
use super::{empty_database, estadisticas};
use crate::harness::cluster::TestDatabase;

/// The names in the SQL around queries and in the triggers, of their functions, and of the language.
const NAMES: [&str; 60] = [
    "a",
    "b",
    "c",
    "d",
    "f",
    "g",
    "h",
    "i",
    "j",
    "k",
    "l",
    "m",
    "n",
    "o",
    "p",
    "q",
    "r",
    "s",
    "t",
    "u",
    "v",
    "x",
    "z",
    "c1",
    "k1",
    "a1",
    "n1",
    "old",
    "new",
    "one",
    "key",
    "keys",
    "row",
    "item",
    "hash",
    "head",
    "side",
    "facts",
    "said",
    "kept",
    "fits",
    "found",
    "zone",
    "changed",
    "latido_r",
    "latido_new",
    "latido_old",
    "latido_row",
    "latido_key",
    "latido_keys",
    "latido_user",
    "is_too_long",
    "to_json",
    "row_to_json",
    "array_agg",
    "unnest",
    "count",
    "text",
    "record",
    "select",
];

/// Returns an expression for each column but the key, with the JSON of its value: a row if `row` says
/// so, else a number.
fn values(key: &str, row: impl Fn(usize) -> bool) -> (String, Value) {
    let (mut sql, mut expected) = (String::new(), serde_json::Map::new());
    for (n, name) in NAMES.iter().enumerate().filter(|(_, name)| **name != key) {
        let (value, of_name) = match row(n) {
            true => (format!("ROW({n}, 6)"), json!({"f1": n, "f2": 6})),
            false => (n.to_string(), json!(n)),
        };
        sql.push_str(&format!(", {value} AS \"{name}\""));
        expected.insert((*name).to_owned(), of_name);
    }
    (sql, expected.into())
}

fn stream(key: &str, values: &str) -> Stream {
    let query = format!(
        "SELECT x0.id AS \"{key}\"{values} FROM unnest($1::bigint[], $2::date[]) AS x0 (id, hoy)"
    );
    Stream {
        name: "nombres".to_owned(),
        verification: Some(VerificationQuery::new(query.replace("x0", "y0"))),
        history_query: Some(query.clone()),
        query,
        authorize_query: Some(
            "SELECT x0 AS x, 1 AS k, 2 AS a FROM unnest($2::text[]) AS x0 WHERE $1 <> 'nobody'"
                .into(),
        ),
        zone_rule: ZoneRule::Query {
            sql: format!(
                "SELECT id AS \"{key}\", 'UTC' AS zone FROM unnest($1::bigint[]) AS x0 (id)"
            ),
            default: "UTC".to_owned(),
        },
        key_fields: vec![key.to_owned()],
        tables: Vec::new(),
        ..estadisticas()
    }
}

/// Reads a stream in every way, and compares its row with this one.
async fn assert_row(database: &Database, stream: Stream, expected: &Value) {
    let catalog = Catalog::new(vec![stream]);
    database.prepare(&catalog).await.unwrap();
    let stream = catalog.get(StreamId(0));
    let (asked, days) = (keys(&["7"]), [today()]);
    let rows = database.read(stream, &asked, &days).await.unwrap();
    let row: Value = serde_json::from_str(&rows[0].columns).unwrap();
    assert_eq!(row, *expected);
    let names: Vec<_> = database.columns(stream).unwrap();
    assert_eq!(names.len(), expected.as_object().unwrap().len());
    let differing = database.mismatched_keys(stream, &asked, &days).await;
    assert_eq!(differing.unwrap(), []);
    assert_eq!(database.zones(stream, &asked).await.unwrap().len(), 1);
    let limits = HistoryLimits {
        rows: 3,
        bytes: 100_000,
    };
    let history = database.read_history(stream, &asked, &days, limits).await;
    let row: Value = serde_json::from_str(&history.unwrap()[0].rows).unwrap();
    assert_eq!(row, *expected);
    for user in ["u", "nobody"].map(UserId::new) {
        let allowed = database.allowed_keys(stream, &user, &asked).await.unwrap();
        assert_eq!(allowed.len(), usize::from(user.as_str() == "u"));
    }
    let query = format!(
        "{} LIMIT 2",
        stream.query.replace(
            "$1::bigint[], $2::date[]",
            "'{1,2}'::bigint[], '{NULL,NULL}'::date[]"
        )
    );
    let key = &stream.key_fields[0];
    let count = database.row_count(&query, key).await.unwrap();
    assert_eq!(count, RowCount::DistinctFirstColumn);
}

#[tokio::test]
async fn values_of_any_name_are_those_of_the_query() {
    let (_home, _client, url) = empty_database().await;
    let database = Database::open(&Config::new(url)).unwrap();
    for even in [0, 1] {
        let (values, expected) = values("clave", |n| n % 2 == even);
        assert_row(&database, stream("clave", &values), &expected).await;
    }
}

#[tokio::test]
async fn keys_may_have_any_name() {
    let (_home, _client, url) = empty_database().await;
    let database = Database::open(&Config::new(url)).unwrap();
    for key in NAMES {
        let (values, expected) = values(key, |n| n % 3 == 0);
        assert_row(&database, stream(key, &values), &expected).await;
    }
}

/// Returns three streams for each four columns, with the first as key, with all as key, and with all
/// found by a lookup; and the items that name a row's keys, whose columns have the numbers from
/// `first` on.
fn watched(first: usize) -> (Catalog, BTreeSet<String>) {
    let (mut streams, mut items) = (Vec::new(), BTreeSet::new());
    for (nth, columns) in NAMES.chunks(4).enumerate() {
        let names: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        let listed: Vec<_> = names.iter().map(|name| format!("c.\"{name}\"")).collect();
        let lookup = format!("SELECT {} FROM changed c", listed.join(", "));
        let parts: Vec<_> = (0..4).map(|n| (first + 4 * nth + n).to_string()).collect();
        for (letter, route, key) in [
            ("a", KeyRoute::Columns(names[..1].to_vec()), json!(parts[0])),
            ("b", KeyRoute::Columns(names.clone()), json!(parts)),
            ("c", KeyRoute::Lookup(lookup), json!(parts)),
        ] {
            let name = format!("{letter}{nth}");
            items.insert(json!([name, key]).to_string());
            let count = key.as_array().map_or(1, Vec::len);
            streams.push(Stream {
                key_fields: names[..count].to_vec(),
                tables: vec![SourceTable {
                    name: "tabla".to_owned(),
                    route,
                    columns: NAMES.map(str::to_owned).into(),
                }],
                ..stream(&names[0], "")
            });
            streams.last_mut().unwrap().name = name;
        }
    }
    (Catalog::new(streams), items)
}

/// A table with a column of every name.
async fn database_with_table() -> TestDatabase {
    let (home, client, _) = empty_database().await;
    let columns = NAMES.map(|name| format!("\"{name}\" bigint")).join(", ");
    let table = format!("CREATE TABLE tabla ({columns})");
    client.batch_execute(&table).await.unwrap();
    home
}

fn numbers(first: usize) -> String {
    let numbers: Vec<_> = (0..NAMES.len()).map(|n| (first + n).to_string()).collect();
    numbers.join(", ")
}

#[tokio::test]
async fn triggers_name_the_keys_of_columns_of_any_name() {
    let home = database_with_table().await;
    let ((catalog, before), (_, after)) = (watched(1), watched(1001));
    let watcher = home.client().await;
    let watch = "SELECT pg_advisory_lock_shared(1818326127, n) FROM generate_series(0, 3071) AS n";
    watcher.batch_execute(watch).await.unwrap();
    for interest_gate in GATE_SETTINGS {
        let database = Database::open(&Config {
            interest_gate,
            ..Config::new(home.url())
        });
        let database = database.unwrap();
        database.install(&catalog).await.unwrap();
        let mut tap = NotificationTap::open(home.client().await, &home).await;
        let names = NAMES.map(|name| format!("\"{name}\"")).join(", ");
        for (write, expected) in [
            (
                format!("INSERT INTO tabla VALUES ({})", numbers(1)),
                vec![&before],
            ),
            (
                format!("UPDATE tabla SET ({names}) = ({})", numbers(1001)),
                vec![&before, &after],
            ),
            ("DELETE FROM tabla".to_owned(), vec![&after]),
        ] {
            let payloads = tap.payloads(&write).await;
            let told: BTreeSet<String> =
                payloads.iter().flat_map(|payload| items(payload)).collect();
            let expected: BTreeSet<String> = expected.into_iter().flatten().cloned().collect();
            assert_eq!(told, expected, "gate {interest_gate}: {write}");
        }
        database.uninstall(&[]).await.unwrap();
    }
}

/// Returns each key of a payload with the stream.
fn items(payload: &str) -> Vec<String> {
    let all: Vec<Value> = serde_json::from_str(payload).unwrap();
    let keys = all.iter().skip(1);
    keys.map(|key| json!([all[0], key]).to_string()).collect()
}

#[tokio::test]
async fn copies_have_columns_of_any_name() {
    let home = database_with_table().await;
    let client = home.client().await;
    let fill = format!(
        "INSERT INTO tabla SELECT {} FROM generate_series(1, 3) AS n",
        NAMES.map(|_| "n").join(", ")
    );
    client.batch_execute(&fill).await.unwrap();
    let database = Database::open(&Config::new(home.url())).unwrap();
    for (nth, name) in NAMES.iter().enumerate().step_by(19) {
        let values = NAMES
            .map(|name| format!("ROW(sum(t0.\"{name}\"), 1) AS \"{name}\""))
            .join(", ");
        let query = format!(
            "SELECT x0.id AS clave, s0.* FROM unnest($1::bigint[], $2::date[]) AS x0 (id, hoy)
             CROSS JOIN LATERAL (SELECT {values} FROM tabla t0 WHERE t0.\"{name}\" = x0.id) s0"
        );
        let route = match nth % 2 {
            0 => KeyRoute::Columns(vec![(*name).to_owned()]),
            _ => KeyRoute::Lookup(format!("SELECT c.\"{name}\" FROM changed c")),
        };
        let stream = Stream {
            query,
            authorize_query: None,
            verification: None,
            history_query: None,
            tables: vec![SourceTable {
                name: "tabla".to_owned(),
                route,
                columns: Vec::new(),
            }],
            ..stream("clave", "")
        };
        let found = examine_lookups(&database, &Catalog::new(vec![stream])).await;
        let levels: Vec<_> = found.iter().map(|finding| finding.level).collect();
        assert_eq!(levels, [FindingLevel::Ok], "{name}: {found:#?}");
    }
}
