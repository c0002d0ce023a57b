//! The local day of a key, for each type of date column.

use jiff::civil::date;
use jiff::tz::TimeZoneDatabase;
use latido_postgres::{Config, Database};
use latido_stream::LocalDay;

use super::pooler_proxy::{PoolerBehaviour, PoolerProxy};
use super::reading::{keys, plain, today};
use super::{A, builtin, empty_database};

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
    let (home, client, url) = empty_database().await;
    // The zone of sessions must not matter.
    let name = home
        .url()
        .rsplit('/')
        .next()
        .unwrap()
        .split('?')
        .next()
        .unwrap();
    client
        .batch_execute(&format!(
            "ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'"
        ))
        .await
        .unwrap();
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
