//! The local day of a key, for each type of date column.

use jiff::ToSpan as _;
use jiff::civil::date;
use jiff::tz::TimeZoneDatabase;
use latido_postgres::{Config, Database};
use latido_stream::LocalDay;
use serde_json::json;

use super::pooler_proxy::{PoolerBehaviour, PoolerProxy};
use super::reading::{keys, plain, today};
use super::{A, builtin, empty_database};
use crate::harness::{B1, B2, OTHER_USER, TestApp};

/// Inserts four citas: the last moment of 21 November, both ends of the 22nd, and the first moment
/// of the 23rd, on the clock of Guayaquil (UTC-5).
async fn create_citas(client: &tokio_postgres::Client, column: &str, values: [&str; 4]) {
    let rows = values.map(|value| format!("('{A}', '{value}', 'pendiente')"));
    let sql = format!(
        "DROP TABLE IF EXISTS citas; CREATE TABLE citas (negocio_id uuid, fecha {column}, estado text);
         INSERT INTO citas VALUES {}",
        rows.join(", ")
    );
    client.batch_execute(&sql).await.unwrap();
}

#[tokio::test]
async fn local_day_is_counted_for_each_type_of_column() {
    let (_home, client, url) = empty_database().await;
    // The zone of sessions must not matter.
    let set_zone = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''Asia/Tokyo''', current_database()); END $$";
    client.batch_execute(set_zone).await.unwrap();
    let pooler = PoolerProxy::start(
        &url,
        PoolerBehaviour {
            refuse_options: true,
            ..PoolerBehaviour::default()
        },
    )
    .await;
    let zone = TimeZoneDatabase::bundled()
        .get("America/Guayaquil")
        .unwrap();
    let day = LocalDay::new(date(2026, 11, 22), &zone);
    let dates = ["2026-11-21", "2026-11-22", "2026-11-22", "2026-11-23"];
    let clocks = [
        "2026-11-21 23:59:59.999999",
        "2026-11-22 00:00",
        "2026-11-22 23:59:59.999999",
        "2026-11-23 00:00",
    ];
    let instants = [
        "2026-11-22 04:59:59.999999Z",
        "2026-11-22 05:00Z",
        "2026-11-23 04:59:59.999999Z",
        "2026-11-23 05:00Z",
    ];
    client
        .batch_execute("CREATE DOMAIN dia AS date; CREATE DOMAIN instante AS timestamptz")
        .await
        .unwrap();
    for (column, values) in [
        ("date", dates),
        ("dia", dates),
        ("timestamp", clocks),
        ("timestamp(6)", clocks),
        ("timestamptz", instants),
        ("instante", instants),
    ] {
        create_citas(&client, column, values).await;
        for url in [&url, &pooler.url] {
            let (database, catalog) = (Database::open(&Config::new(url)).unwrap(), builtin());
            database.prepare(&catalog).await.unwrap();
            let (_, stream) = catalog.iter().next().unwrap();
            let rows = database.read(stream, &keys(&[A]), &[day]).await.unwrap();
            assert_eq!(
                rows[0].columns,
                r#"{"citas_hoy":2,"total_citas":4,"citas_completadas":0,"citas_canceladas":0}"#,
                "{column}"
            );
        }
    }
}

#[tokio::test]
async fn bounds_of_the_day_are_optional() {
    let (_home, _client, url) = empty_database().await;
    let database = Database::open(&Config::new(url)).unwrap();
    for (parameters, columns) in [
        ("", "1 AS uno"),
        (", $2::date[]", "a::text"),
        (", $2::timestamp[]", "a::text"),
        (
            ", $2::timestamptz[], $3::date[]",
            "(a AT TIME ZONE 'UTC')::text AS a, b::text",
        ),
    ] {
        let query =
            format!("SELECT k, {columns} FROM unnest($1::int[]{parameters}) AS u (k, a, b)");
        let query = match parameters.matches('$').count() {
            0 => query.replace(" (k, a, b)", " (k)"),
            1 => query.replace(" (k, a, b)", " (k, a)"),
            _ => query,
        };
        let catalog = plain("dias", &query);
        database.prepare(&catalog).await.unwrap();
        let (_, stream) = catalog.iter().next().unwrap();
        let rows = database
            .read(stream, &keys(&["1"]), &[today()])
            .await
            .unwrap();
        let expected = match parameters {
            "" => r#"{"uno":1}"#,
            ", $2::date[]" => r#"{"a":"2026-11-22"}"#,
            ", $2::timestamp[]" => r#"{"a":"2026-11-22 00:00:00"}"#,
            _ => r#"{"a":"2026-11-22 00:00:00","b":"2026-11-23"}"#,
        };
        assert_eq!(rows[0].columns, expected, "{parameters}");
    }
}

/// A timestamp with a zone is of the business's today until its own midnight.
#[tokio::test(flavor = "multi_thread")]
async fn instants_of_today_end_at_the_midnight_of_the_business() {
    let (_home, client, url) = empty_database().await;
    let schema = "CREATE TABLE citas (negocio_id uuid, fecha timestamptz, estado text);
        CREATE TABLE usuarios (id uuid, rol text); CREATE TABLE negocios (id uuid, admin_negocio_id uuid)";
    client.batch_execute(schema).await.unwrap();
    TestApp::install_on(&url).await;
    let variables = [("TIMEZONE", "America/Guayaquil")];
    let app = TestApp::on_database_with(&url, &variables, |_| {}).await;
    let midnight: jiff::Timestamp = "2030-03-10T05:00:00Z".parse().unwrap();
    app.clock().set(midnight - 1.hour());
    let exp = (midnight + 1.hour()).as_second();
    let token = app.sign(&json!({"id": OTHER_USER, "negocios": [B1, B2], "exp": exp}));
    let mut socket = app.connect_socket(&token).await;
    let channel = format!("estadisticas:{B1}");
    assert_eq!(socket.subscribe(&channel).await["data"]["citas_hoy"], 0);
    app.wait_until_settled().await;
    // In UTC the second one is of the same day as the first.
    let sql = format!(
        "INSERT INTO citas VALUES ('{B1}', '2030-03-10T04:59:59Z'), ('{B1}', '2030-03-10T05:00:00Z'), ('{B1}', '2030-03-10T23:00:00Z')"
    );
    client.batch_execute(&sql).await.unwrap();
    socket
        .stats_until(&channel, |data| {
            data["total_citas"] == 3 && data["citas_hoy"] == 1
        })
        .await;
    app.clock().set(midnight);
    // The engine looks at the clock at every event, such as the first viewer of another channel.
    let other = format!("estadisticas:{B2}");
    socket
        .send(&json!({"type": "subscribe", "channel": other}))
        .await;
    socket
        .stats_until(&channel, |data| {
            data["total_citas"] == 3 && data["citas_hoy"] == 2
        })
        .await;
}
