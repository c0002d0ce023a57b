//! What the doctor says about lookups.

use latido_postgres::{Finding, FindingLevel, InstallError, examine};
use latido_stream::{Catalog, Stream};

use super::super::estadisticas;
use super::{LOOKUP, SCHEMA, Scene, by_columns, lineas, pedidos, stream, ventas, via};

const QUERY: &str = "SELECT u.tienda_id, (SELECT sum(l.cantidad) FROM lineas l JOIN pedidos p ON p.id = l.pedido_id WHERE p.tienda_id = u.tienda_id) AS unidades
    FROM unnest($1::bigint[], $2::date[]) AS u (tienda_id, hoy)";

fn find<'a>(findings: &'a [Finding], subject: &str) -> Vec<&'a Finding> {
    findings
        .iter()
        .filter(|finding| finding.subject.contains(subject))
        .collect()
}

#[tokio::test]
async fn lookup_in_order_is_described() {
    let scene = Scene::new(SCHEMA, &ventas()).await;
    let findings = examine(&scene.database, &ventas()).await;
    let found = find(&findings, "via of lineas");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(
        (found[0].level, &*found[0].detail),
        (FindingLevel::Ok, "finds tienda_id, through pedidos")
    );
    for table in ["pedidos", "lineas"] {
        let triggers = find(&findings, &format!("triggers on {table}"));
        assert_eq!(triggers[0].level, FindingLevel::Ok, "{triggers:?}");
    }
}

#[tokio::test]
async fn problems_of_lookups_are_named() {
    let schema = format!(
        "{SCHEMA} CREATE TABLE notas (pedido bigint, tienda bigint, texto text);
        CREATE FUNCTION doble(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT $1 * 2'"
    );
    let scene = Scene::bare(&schema).await;
    let lookup = "SELECT n.tienda FROM changed c JOIN notas n ON n.pedido = doble(c.pedido_id)";
    let catalog = stream(
        &["tienda_id"],
        vec![pedidos(), via("lineas", lookup, &["cantidad"])],
    );
    scene.database.install(&catalog).await.unwrap();
    let findings = examine(&scene.database, &catalog).await;
    let found = find(&findings, "via of lineas");
    assert!(
        found
            .iter()
            .all(|finding| finding.level == FindingLevel::Warning),
        "{found:#?}"
    );
    let text = format!("{found:#?}");
    for part in [
        "it reads pedido_id, which `columns` does not list",
        "columns = [\\\"cantidad\\\", \\\"pedido_id\\\"]",
        "doble(bigint)",
        "no index finds its rows in notas",
        "CREATE INDEX CONCURRENTLY ON \\\"public\\\".\\\"notas\\\" (\\\"pedido\\\");",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // What the lookup needed is gone.
    scene
        .other
        .batch_execute("ALTER TABLE notas DROP COLUMN pedido CASCADE")
        .await
        .unwrap();
    let findings = examine(&scene.database, &catalog).await;
    let found = find(&findings, "via of lineas");
    assert_eq!(found[0].level, FindingLevel::Failure);
    assert!(
        found[0].detail.contains("pedido does not exist"),
        "{found:?}"
    );
    assert_eq!(
        find(&findings, "triggers on lineas")[0].level,
        FindingLevel::Failure
    );
}

fn readable(tables: Vec<latido_stream::SourceTable>, query: &str) -> Catalog {
    Catalog::new(vec![Stream {
        name: "ventas".to_owned(),
        query: query.to_owned(),
        key_fields: vec!["tienda_id".to_owned()],
        authorize_query: None,
        tables,
        ..estadisticas()
    }])
}

#[tokio::test]
async fn lookup_must_return_the_type_of_the_query() {
    let scene = Scene::bare(SCHEMA).await;
    let catalog = readable(vec![pedidos(), lineas()], QUERY);
    scene.database.prepare(&catalog).await.unwrap();
    let text = format!("SELECT v.tienda_id::text FROM ({LOOKUP}) AS v");
    let catalog = readable(vec![pedidos(), via("lineas", &text, &[])], QUERY);
    let error = scene.database.check_streams(&catalog).await.unwrap_err();
    assert!(matches!(error, InstallError::KeyMismatches(_)), "{error}");
    let text = error.to_string();
    for part in ["tienda_id of `via`", "text", "int8[]", "cast tienda_id"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// The doctor reads with a key that exists, also of several parts.
#[tokio::test]
async fn example_key_has_every_part() {
    let schema = "CREATE TABLE ventas (tienda bigint, dia date, total int); INSERT INTO ventas VALUES (1, NULL, 1), (7, '2026-11-30', 5);
        CREATE INDEX ON ventas (tienda, dia)";
    let scene = Scene::bare(schema).await;
    // Any other key divides by zero.
    let query = "SELECT u.tienda, u.dia, 1 / (SELECT count(*) FROM ventas v WHERE v.tienda = u.tienda AND v.dia = u.dia) AS n
        FROM unnest($1::bigint[], $2::date[], $3::date[]) AS u (tienda, dia, hoy)";
    let catalog = Catalog::new(vec![Stream {
        name: "ventas".to_owned(),
        query: query.to_owned(),
        key_fields: vec!["tienda".to_owned(), "dia".to_owned()],
        authorize_query: None,
        tables: vec![by_columns("ventas", &["tienda", "dia"], &[])],
        ..estadisticas()
    }]);
    scene.database.install(&catalog).await.unwrap();
    let findings = examine(&scene.database, &catalog).await;
    assert_eq!(
        find(&findings, "plan")[0].level,
        FindingLevel::Ok,
        "{findings:#?}"
    );
    assert_eq!(
        find(&findings, "index on ventas")[0].level,
        FindingLevel::Ok,
        "{findings:#?}"
    );
}

/// A mistake in an entry is told once: its table is listed, and its functions are needed.
#[tokio::test]
async fn misspelt_column_has_one_finding() {
    let scene = Scene::bare(SCHEMA).await;
    let right = readable(vec![pedidos(), lineas()], QUERY);
    scene.database.install(&right).await.unwrap();
    let wrong = via("lineas", LOOKUP, &["pedido_id", "cantidadd"]);
    let catalog = readable(vec![pedidos(), wrong], QUERY);
    let findings = examine(&scene.database, &catalog).await;
    let problem = find(&findings, "triggers on lineas");
    assert!(problem[0].detail.contains("no column cantidadd"));
    for finding in &findings {
        for part in ["does not list", "belongs to no table"] {
            assert!(!finding.detail.contains(part), "{finding:?}");
        }
    }
    let gaps = scene.database.recorded_read_gaps(&catalog).await.unwrap();
    assert!(gaps.is_empty(), "{gaps:?}");
    // A table that is not listed at all is told as before, in the form of the configuration.
    let catalog = readable(vec![pedidos()], QUERY);
    let findings = examine(&scene.database, &catalog).await;
    let reads = find(&findings, "reads");
    let remedy = reads.iter().find_map(|finding| finding.with_remedy.clone());
    let expected = "add [[streams.ventas.tables]] with table = \"lineas\"";
    assert!(remedy.unwrap().starts_with(expected), "{reads:?}");
}
