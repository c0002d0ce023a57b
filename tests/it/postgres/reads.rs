//! The comparison of what a query reads with the tables that its stream lists: by the doctor, and
//! by a server with what `latido install` recorded.

use std::sync::Arc;

use latido_postgres::{Config, Database, Finding, FindingLevel, InstallError, ReadGap, examine};
use latido_stream::{Catalog, Param, ParamKind, SourceTable, Stream};

use super::{empty_database, estadisticas, schema_database, table};
use crate::harness::{CommandHome, report_not_tested};

const SHOP: &str = "
    CREATE TABLE pedidos (id bigint PRIMARY KEY, tienda_id bigint, dia date, total numeric, pagado bool, hecho timestamptz);
    CREATE INDEX ON pedidos (tienda_id, dia, total, pagado, hecho);
    CREATE TABLE tiendas (id bigint PRIMARY KEY, nombre text);
    CREATE VIEW pagados AS SELECT p.tienda_id, p.dia, p.total, t.nombre FROM pedidos p JOIN tiendas t ON t.id = p.tienda_id WHERE p.pagado;
    CREATE FUNCTION escondida(bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT count(*) FROM tiendas WHERE id = $1); END';";

const VENTAS: &str = "SELECT u.id, s.* FROM unnest($1::bigint[], $2::date[]) AS u (id, hoy)
    CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE p.dia = u.hoy) AS hoy, sum(p.total) AS total
                        FROM pedidos p WHERE p.tienda_id = u.id AND p.pagado) s";

fn ventas(query: &str, tables: Vec<SourceTable>) -> Arc<Catalog> {
    Arc::new(Catalog::new(vec![Stream {
        name: "ventas".to_owned(),
        query: query.to_owned(),
        authorize_query: None,
        key_fields: vec!["tienda_id".to_owned()],
        tables,
        ..estadisticas()
    }]))
}

fn pedidos(columns: &[&str]) -> SourceTable {
    table("pedidos", Some("tienda_id"), columns)
}

/// Returns the findings about what the query reads.
async fn read_findings(database: &Database, catalog: &Catalog) -> Vec<Finding> {
    let findings = examine(database, catalog).await;
    findings
        .into_iter()
        .filter(|finding| finding.subject.ends_with(": reads"))
        .collect()
}

/// Returns the texts and remedies of the warnings.
async fn warnings(database: &Database, query: &str, tables: Vec<SourceTable>) -> Vec<String> {
    let findings = read_findings(database, &ventas(query, tables)).await;
    assert!(!findings.is_empty());
    findings
        .into_iter()
        .filter(|finding| finding.level == FindingLevel::Warning)
        .map(|finding| {
            format!(
                "{} | {}",
                finding.detail,
                finding.with_remedy.unwrap_or_default()
            )
        })
        .collect()
}

#[tokio::test]
async fn unlisted_tables_and_columns_are_named() {
    let (_home, client, url) = empty_database().await;
    client.batch_execute(SHOP).await.unwrap();
    let database = Database::open(&Config::new(url)).unwrap();
    let all = ["tienda_id", "dia", "total", "pagado"];
    assert!(
        warnings(&database, VENTAS, vec![pedidos(&all)])
            .await
            .is_empty()
    );
    assert!(
        warnings(&database, VENTAS, vec![pedidos(&[])])
            .await
            .is_empty()
    );

    let without_day = warnings(&database, VENTAS, vec![pedidos(&["total", "pagado"])]).await;
    assert_eq!(without_day.len(), 1, "{without_day:?}");
    assert!(
        without_day[0].contains("reads dia of pedidos")
            && without_day[0].contains(r#"columns = ["dia", "pagado", "tienda_id", "total"]"#),
        "{without_day:?}"
    );

    let view = "SELECT u.id, sum(p.total) AS total, max(p.nombre) AS nombre FROM unnest($1::bigint[], $2::date[]) AS u (id, hoy)
                LEFT JOIN pagados p ON p.tienda_id = u.id GROUP BY u.id";
    let base = warnings(&database, view, vec![pedidos(&["total", "pagado"])]).await;
    assert_eq!(base.len(), 1, "{base:?}");
    assert!(base[0].contains("reads tiendas (id, nombre)"), "{base:?}");

    let more = vec![pedidos(&all), table("tiendas", Some("id"), &[])];
    let unread = warnings(&database, VENTAS, more.clone()).await;
    assert!(unread[0].contains("lists tiendas"), "{unread:?}");
}

#[tokio::test]
async fn other_sources_than_tables_are_named() {
    let (_home, client, url) = empty_database().await;
    client.batch_execute(SHOP).await.unwrap();
    let database = Database::open(&Config::new(url)).unwrap();
    let with = |expression: &str| {
        format!(
            "SELECT k AS id, {expression} AS n FROM unnest($1::bigint[]) AS k JOIN pedidos p ON p.tienda_id = k AND $2::date[] IS NOT NULL GROUP BY k"
        )
    };
    let listed = || vec![pedidos(&[])];
    for (expression, expected) in [
        (
            "count(*) FILTER (WHERE p.hecho >= current_date)",
            "calls current_date",
        ),
        ("count(*) FILTER (WHERE p.hecho > now())", "calls now()"),
        (
            "count(*) FILTER (WHERE p.hecho = p.dia)",
            "compares a timestamp with a date",
        ),
        ("escondida(k)", "escondida hides what it reads"),
        ("random()", "another result"),
    ] {
        let found = warnings(&database, &with(expression), listed()).await;
        assert!(
            found.iter().any(|text| text.contains(expected)),
            "{expression}: {found:?}"
        );
    }
    // Parameters of the stream stand behind today, and are no bounds of the day.
    let timestamp = "count(*) FILTER (WHERE p.hecho = p.dia)";
    let found = warnings(&database, &with(timestamp), listed())
        .await
        .join("\n");
    assert!(
        found.contains("declare $2 and $3 as the column is"),
        "{found}"
    );
    let of_param = with(timestamp)
        .replace("k AS id,", "k AS id, d.desde,")
        .replace(
            "AS k JOIN",
            "AS k CROSS JOIN unnest($3::date[]) AS d (desde) JOIN",
        )
        .replace("GROUP BY k", "GROUP BY k, d.desde");
    let stream = Stream {
        query: of_param,
        authorize_query: None,
        params: vec![Param {
            name: "desde".to_owned(),
            kind: ParamKind::Date,
            default: None,
        }],
        tables: listed(),
        ..estadisticas()
    };
    let found = read_findings(&database, &Catalog::new(vec![stream])).await;
    let remedies = found
        .iter()
        .filter_map(|finding| finding.with_remedy.as_deref());
    let remedies = remedies.collect::<Vec<_>>().join("\n");
    assert!(
        remedies.contains("declare $2 as the column is"),
        "{found:#?}"
    );
    // A table that the tree does not show is taken for that of the hidden function.
    let with_table = vec![pedidos(&[]), table("tiendas", Some("id"), &[])];
    assert!(
        warnings(&database, &with("escondida(k)"), with_table)
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn server_compares_with_what_was_recorded() {
    let (_home, client, url) = empty_database().await;
    client.batch_execute(SHOP).await.unwrap();
    let database = Database::open(&Config::new(url)).unwrap();
    let all = ["tienda_id", "dia", "total", "pagado"];
    let complete = ventas(VENTAS, vec![pedidos(&all)]);
    assert_eq!(database.recorded_read_gaps(&complete).await.unwrap(), []);
    database.install(&complete).await.unwrap();
    assert_eq!(database.recorded_read_gaps(&complete).await.unwrap(), []);

    let fewer = ventas(VENTAS, vec![pedidos(&["total", "pagado"])]);
    let gaps = database.recorded_read_gaps(&fewer).await.unwrap();
    assert!(
        matches!(&gaps[..], [(stream, ReadGap::UnlistedColumns { missing, .. })] if stream == "ventas" && missing == "dia"),
        "{gaps:?}"
    );
    let other = ventas(&VENTAS.replace("AND p.pagado", ""), vec![pedidos(&all)]);
    let changed = database.recorded_read_gaps(&other).await.unwrap();
    assert_eq!(changed, [("ventas".to_owned(), ReadGap::QueryChanged)]);
    database.install(&other).await.unwrap();
    assert_eq!(database.recorded_read_gaps(&other).await.unwrap(), []);

    // A second installation of the same changes nothing.
    let row = "SELECT xmin::text FROM pg_description WHERE objoid = 'latido'::regnamespace";
    let before: String = client.query_one(row, &[]).await.unwrap().get(0);
    database.install(&other).await.unwrap();
    let after: String = client.query_one(row, &[]).await.unwrap().get(0);
    assert_eq!(before, after);
    database.uninstall(&[]).await.unwrap();
    assert_eq!(database.recorded_read_gaps(&other).await.unwrap(), []);
}

#[tokio::test]
async fn builtin_stream_lists_what_it_reads() {
    let (_home, _client, database) = schema_database().await;
    let findings = read_findings(&database, &super::builtin()).await;
    let [finding] = &findings[..] else {
        panic!("{findings:?}");
    };
    assert_eq!(finding.level, FindingLevel::Ok, "{finding:?}");
    assert!(
        finding.detail.contains("citas (estado, fecha, negocio_id)"),
        "{finding:?}"
    );
}

#[tokio::test]
async fn key_on_a_virtual_column_is_refused() {
    let (_home, client, url) = empty_database().await;
    let virtual_key = "CREATE TABLE v (id bigint, k bigint GENERATED ALWAYS AS (id * 2) VIRTUAL)";
    match client.batch_execute(virtual_key).await {
        Ok(()) => {}
        // The syntax is that of 18.
        Err(error) => {
            assert_eq!(error.code().map(|code| code.code()), Some("42601"));
            return report_not_tested(
                "keys on virtual columns, since PostgreSQL 18 is the first with them",
            );
        }
    }
    let database = Database::open(&Config::new(url)).unwrap();
    let catalog = ventas(
        "SELECT k, id FROM v WHERE k = ANY ($1)",
        vec![table("v", Some("k"), &[])],
    );
    let Err(InstallError::UnsupportedTables(problems)) = database.install(&catalog).await else {
        panic!("it was installed");
    };
    assert!(
        problems[0].to_string().contains("virtual generated column"),
        "{problems:?}"
    );
}

#[tokio::test]
async fn mistakes_in_urls_are_errors_of_the_settings() {
    let home = CommandHome::new();
    for (url, expected) in [
        (
            "postgresql://u:hunter2@h/d?colour=blue&ssl=perhaps",
            "unknown parameter `colour`",
        ),
        (
            "postgresql://u:hunter2@h/d?colour=blue&ssl=perhaps",
            "parameter `ssl`: expected true",
        ),
        ("postgresql://u:hun@ter2@h/d", "@ is %40"),
        ("postgresql://u:hunter2%@h/d", "% is %25"),
        (
            "postgresql://u:hunter2@h/d?sslmode=verify-full&sslrootcert=/nowhere.pem",
            "/nowhere.pem",
        ),
    ] {
        let variables = [("DATABASE_URL", url), ("PORT", "eighty")];
        let finished = home.run(&["doctor"], &variables).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        let text = &finished.stderr;
        assert!(
            text.contains("DATABASE_URL: ") && text.contains("PORT: "),
            "{text}"
        );
        assert_eq!(text.matches(expected).count(), 1, "{text}");
        assert!(
            !text.contains("hunter2") && !text.contains("ter2"),
            "{text}"
        );
    }
}

/// The server that the address names, which may be the wrong one, is not asked.
#[tokio::test]
async fn parameter_host_replaces_the_host_of_the_url() {
    let (_home, client, url) = empty_database().await;
    let (address, parameters) = url.split_once('?').expect("a socket");
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    other.set_nonblocking(true).unwrap();
    let place = format!("@{}", other.local_addr().unwrap());
    let with_host = address.replacen("@", &place, 1);
    let database = Database::open(&Config::new(format!("{with_host}?{parameters}"))).unwrap();
    database.check_connection().await.unwrap();
    assert!(other.accept().is_err(), "another server was asked");
    drop(client);
}

#[tokio::test]
async fn error_of_a_closed_port_is_said_once() {
    let database = Database::open(&Config::new("postgresql://u@127.0.0.1:1/d")).unwrap();
    let error = database.check_connection().await.unwrap_err().to_string();
    assert_eq!(
        error.to_lowercase().matches("refused").count(),
        1,
        "{error}"
    );
}
