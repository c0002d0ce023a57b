//! Keys whose parts have the less common types, in columns and in what lookups return.

use latido_stream::{Catalog, Stream};

use super::super::estadisticas;
use super::{Scene, by_columns, open, stream, via};
use crate::harness::report_not_tested;

const SCHEMA: &str = "
    CREATE TYPE animo AS ENUM ('bien', 'muy mal'); CREATE DOMAIN estado AS animo; CREATE DOMAIN clave AS numeric(20,0);
    CREATE TABLE padres (id bigint PRIMARY KEY, a citext, b char(5), c clave, d animo, e estado, f date);
    CREATE TABLE hijos (id bigserial PRIMARY KEY, padre_id bigint REFERENCES padres, total int NOT NULL DEFAULT 0);
    INSERT INTO padres VALUES (1, 'ñA', 'x', 7, 'muy mal', 'bien', '2026-11-30'), (2, 'Ba', 'y ', -8, 'bien', 'muy mal', '2026-12-01'),
                              (3, 'c', 'z', 9, 'bien', 'bien', 'infinity');
    INSERT INTO hijos (id, padre_id) VALUES (1, 1), (2, 2), (3, 3);
    ALTER SEQUENCE hijos_id_seq RESTART 10;";

/// Its number has a fraction, which the text of a key has not.
const LOOKUP: &str =
    "SELECT p.a, p.b, p.c * 1.00, p.d, p.e, p.f FROM changed h JOIN padres p ON p.id = h.padre_id";

const PARTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

const FIRST: &str = "[ña/x/7/muy mal/bien/2026-11-30]";
const SECOND: &str = "[ba/y/-8/bien/muy mal/2026-12-01]";
const SECOND_MOVED: &str = "[ba/y/-8/bien/bien/2026-12-01]";

/// Every trigger tells the canonical texts, in a session whose format of dates is another.
#[tokio::test]
async fn columns_and_lookups_tell_canonical_parts_of_every_type() {
    for (gate, form) in [
        (true, ""),
        (true, "CREATE TABLE hija () INHERITS (padres)"),
        (false, ""),
    ] {
        let mut scene = Scene::bare("SET datestyle = 'German, DMY'").await;
        if let Err(error) = scene.other.batch_execute("CREATE EXTENSION citext").await {
            report_not_tested(&format!("parts of citext: {error}"));
            return;
        }
        let schema = format!("{SCHEMA}{form}");
        scene.other.batch_execute(&schema).await.unwrap();
        scene.database = open(scene.home.url(), gate);
        scene
            .install(&stream(
                &PARTS,
                vec![
                    by_columns("padres", &PARTS, &[]),
                    via("hijos", LOOKUP, &["padre_id", "total"]),
                ],
            ))
            .await;
        scene
            .watch(&[
                &["ña", "x", "7", "muy mal", "bien", "2026-11-30"],
                &["ña", "x", "-7", "muy mal", "bien", "2026-11-30"],
                &["ba", "y", "-8", "bien", "muy mal", "2026-12-01"],
                &["ba", "y", "-8", "bien", "bien", "2026-12-01"],
                &["ba", "y", "8", "bien", "bien", "2026-12-01"],
            ])
            .await;
        scene
            .check(&[
                (
                    "SET datestyle = 'German, DMY'; UPDATE hijos SET total = 1 WHERE id = 1",
                    &[FIRST],
                ),
                ("UPDATE hijos SET total = 2", &[FIRST, SECOND]),
                (
                    "UPDATE hijos SET padre_id = 1 WHERE id = 2",
                    &[FIRST, SECOND],
                ),
                ("INSERT INTO hijos (padre_id) VALUES (2), (3)", &[SECOND]),
                (
                    "UPDATE padres SET a = 'ña', b = 'x  ' WHERE id = 1",
                    &[FIRST, &format!("!{FIRST}")],
                ),
                (
                    "UPDATE padres SET e = 'bien' WHERE id > 1",
                    &[SECOND, SECOND_MOVED, &format!("!{SECOND_MOVED}")],
                ),
                (
                    "UPDATE padres SET c = -c",
                    &[
                        FIRST,
                        "[ña/x/-7/muy mal/bien/2026-11-30]",
                        "![ña/x/-7/muy mal/bien/2026-11-30]",
                        SECOND_MOVED,
                        "[ba/y/8/bien/bien/2026-12-01]",
                        "![ba/y/8/bien/bien/2026-12-01]",
                    ],
                ),
                (
                    "DELETE FROM hijos WHERE padre_id = 2",
                    &["[ba/y/8/bien/bien/2026-12-01]"],
                ),
            ])
            .await;
    }
}

/// A lookup must spell a part as the query's parameter does.
#[tokio::test]
async fn lookup_that_spells_keys_otherwise_is_refused() {
    let scene = Scene::bare(
        "CREATE TABLE padres (id bigint PRIMARY KEY, b char(5)); CREATE TABLE hijos (padre_id bigint)",
    )
    .await;
    let sql = "SELECT p.b FROM changed h JOIN padres p ON p.id = h.padre_id";
    for (parameter, lookup, expected) in [
        ("bpchar", sql.to_owned(), None),
        ("text", sql.to_owned(), Some("cast b in `via`")),
        ("text", sql.replace("p.b", "p.b::text AS b"), None),
    ] {
        let catalog = Catalog::new(vec![Stream {
            query: format!("SELECT u.b, 1 AS n FROM unnest($1::{parameter}[]) AS u (b)"),
            key_fields: vec!["b".to_owned()],
            authorize_query: None,
            tables: vec![via("hijos", &lookup, &[])],
            ..estadisticas()
        }]);
        let result = scene.database.prepare(&catalog).await;
        match (result, expected) {
            (Ok(()), None) => {}
            (Err(error), Some(expected)) => {
                let error = error.to_string();
                assert!(error.contains(expected), "{parameter} {lookup}: {error}");
            }
            (result, _) => panic!("{parameter} {lookup}: {result:?}"),
        }
    }
}
