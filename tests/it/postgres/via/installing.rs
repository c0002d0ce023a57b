//! Installation of lookups: what it changes, what it refuses, and what it leaves.

use latido_postgres::{InstallChange, InstallError};
use latido_stream::KeyRoute;

use super::super::triggers::set;
use super::{LOOKUP, SCHEMA, Scene, entry, open, pedidos, stream, ventas, via};

async fn count(scene: &Scene, sql: &str) -> i64 {
    scene.other.query_one(sql, &[]).await.unwrap().get(0)
}

const FUNCTIONS: &str = "SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'latido'";
const TRIGGERS: &str = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'latido%'";

#[tokio::test]
async fn second_installation_changes_nothing() {
    let scene = Scene::new(SCHEMA, &ventas()).await;
    let before = "SELECT string_agg(oid::text || xmin::text, ',' ORDER BY oid) FROM pg_proc WHERE pronamespace = 'latido'::regnamespace";
    let state: String = scene.other.query_one(before, &[]).await.unwrap().get(0);
    let changes = scene.database.install(&ventas()).await.unwrap();
    let unchanged = |change: &InstallChange| matches!(change, InstallChange::Unchanged(_));
    assert!(changes.iter().all(unchanged), "{changes:?}");
    let after: String = scene.other.query_one(before, &[]).await.unwrap().get(0);
    assert_eq!(state, after);
    // A server without a gate, or that cannot create temporary tables, sees the same.
    let report = open(scene.home.url(), false)
        .triggers(&ventas())
        .await
        .unwrap();
    assert!(
        report.are_current() && report.unused_functions.is_empty(),
        "{report:?}"
    );
}

#[tokio::test]
async fn changes_of_the_configuration_and_of_the_triggers_are_noticed() {
    let scene = Scene::new(SCHEMA, &ventas()).await;
    let other = via(
        "lineas",
        &format!("{LOOKUP} WHERE c.cantidad > 0"),
        &["pedido_id"],
    );
    let other = stream(&["tienda_id"], vec![pedidos(), other]);
    assert!(!scene.database.triggers(&other).await.unwrap().are_current());
    scene.install(&other).await;
    assert_eq!(
        count(
            &scene,
            "SELECT count(*) FROM pg_proc WHERE proname ~ '_via_'"
        )
        .await,
        1
    );
    scene.install(&ventas()).await;
    for damage in [
        "DO $$ BEGIN EXECUTE (SELECT format('DROP TRIGGER %I ON pedidos', tgname) FROM pg_trigger t JOIN pg_proc p ON p.oid = tgfoid
           WHERE tgrelid = 'pedidos'::regclass AND proname ~ '_moves_' LIMIT 1); END $$",
        "DO $$ BEGIN EXECUTE (SELECT format('ALTER TABLE lineas DISABLE TRIGGER %I', tgname) FROM pg_trigger
           WHERE tgrelid = 'lineas'::regclass AND NOT tgisinternal LIMIT 1); END $$",
        "DO $$ BEGIN EXECUTE (SELECT format('DROP FUNCTION %s', oid::regprocedure) FROM pg_proc WHERE proname ~ '_via_'); END $$",
        "CREATE TABLE pedidos_2 () INHERITS (pedidos)",
    ] {
        scene.other.batch_execute(damage).await.unwrap();
        let is_noticed = match damage.starts_with("CREATE") {
            // What inherits from a parent shows when it is installed again.
            true => true,
            false => !scene.database.triggers(&ventas()).await.unwrap().are_current(),
        };
        assert!(is_noticed, "{damage}");
        let changes = scene.database.install(&ventas()).await.unwrap();
        assert!(changes.iter().any(|change| matches!(change, InstallChange::Installed(_))), "{damage}");
        assert!(scene.database.triggers(&ventas()).await.unwrap().are_current(), "{damage}");
    }
}

#[tokio::test]
async fn uninstalling_leaves_nothing() {
    let scene = Scene::new(SCHEMA, &ventas()).await;
    assert!(count(&scene, TRIGGERS).await >= 9);
    // A table that is no longer listed loses its triggers, and its parents lose theirs for moves.
    scene
        .install(&stream(&["tienda_id"], vec![pedidos()]))
        .await;
    assert_eq!(count(&scene, TRIGGERS).await, 4);
    let whole_row = "SELECT (to_jsonb(c) ->> 'id')::bigint FROM changed c";
    let tables = vec![pedidos(), super::lineas(), via("tiendas", whole_row, &[])];
    scene.install(&stream(&["tienda_id"], tables)).await;
    scene.database.uninstall(&[]).await.unwrap();
    assert_eq!(
        (
            count(&scene, TRIGGERS).await,
            count(&scene, FUNCTIONS).await
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn script_installs_the_same() {
    let scene = Scene::bare(SCHEMA).await;
    let script = scene.database.install_sql(&ventas()).await.unwrap();
    for part in [
        "BEGIN ATOMIC",
        "SET row_security = off",
        "SET jit = off",
        "AFTER TRUNCATE",
        LOOKUP,
    ] {
        assert!(script.contains(part), "{part}");
    }
    scene.other.batch_execute(&script).await.unwrap();
    assert!(
        scene
            .database
            .triggers(&ventas())
            .await
            .unwrap()
            .are_current()
    );
}

#[tokio::test]
async fn wrong_lookups_are_refused() {
    let scene = Scene::bare(SCHEMA).await;
    let view = "CREATE MATERIALIZED VIEW resumen AS SELECT id, tienda_id FROM pedidos";
    scene.other.batch_execute(view).await.unwrap();
    for (sql, expected) in [
        (
            "SELECT p.tienda_id, p.id FROM changed c JOIN pedidos p ON p.id = c.pedido_id",
            "returns (tienda_id int8, id int8)",
        ),
        (
            "SELECT p.total::float8 FROM changed c JOIN pedidos p ON p.id = c.pedido_id",
            "returns (total float8)",
        ),
        ("SELECT tienda_id FROM pedidos", "does not read `changed`"),
        ("SELECT nada FROM changed", "column \"nada\" does not exist"),
        (
            "SELECT pedido_id FROM changed; SELECT 1",
            "more than one statement",
        ),
        (
            "SELECT pedido_id FROM changed WHERE id = $1",
            "has parameters",
        ),
        (
            "SELECT r.tienda_id FROM changed c JOIN resumen r ON r.id = c.pedido_id",
            "materialized view resumen",
        ),
        ("DELETE FROM changed RETURNING pedido_id", "refuses it"),
        (
            "SELECT p.tienda_id FROM changed c JOIN pedidos p ON p.id = c.pedido_id FOR SHARE OF p",
            "locks rows",
        ),
        (
            "SELECT p.tienda_id FROM changed c JOIN (SELECT * FROM pedidos FOR UPDATE) AS p ON p.id = c.pedido_id",
            "locks rows",
        ),
    ] {
        let catalog = stream(&["tienda_id"], vec![pedidos(), via("lineas", sql, &[])]);
        let error = scene.database.install(&catalog).await.unwrap_err();
        assert!(
            matches!(error, InstallError::UnsupportedTables(_)),
            "{sql}: {error}"
        );
        let text = error.to_string();
        for part in [
            "stream ventas",
            "table lineas",
            expected,
            "one SELECT over `changed`",
            "(tienda_id)",
        ] {
            assert!(text.contains(part), "{sql}: {text}");
        }
    }
    let keyless = stream(
        &[],
        vec![entry("lineas", KeyRoute::Lookup(LOOKUP.to_owned()), &[])],
    );
    let error = scene
        .database
        .install(&keyless)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("no `via`"), "{error}");
    assert_eq!(count(&scene, TRIGGERS).await, 0);
}

#[tokio::test]
async fn tables_of_any_name_are_found_in_both_spellings() {
    let schema = r#"CREATE SCHEMA "Mi esquema"; CREATE TABLE "Mi esquema"."Hijos ""de"" x" ("Mi tienda" bigint)"#;
    let mut scene = Scene::bare(schema).await;
    for name in [
        r#"Mi esquema.Hijos "de" x"#,
        r#""Mi esquema"."Hijos ""de"" x""#,
    ] {
        let lookup = via(name, "SELECT c.\"Mi tienda\" FROM changed c", &[]);
        scene.install(&stream(&["tienda_id"], vec![lookup])).await;
        scene.watch_tiendas(1..=3).await;
        let insert = r#"INSERT INTO "Mi esquema"."Hijos ""de"" x" VALUES (2)"#;
        assert_eq!(scene.told(insert).await, set(&["2"]), "{name}");
    }
}

#[tokio::test]
async fn functions_that_a_lookup_calls_are_named() {
    let scene = Scene::bare(SCHEMA).await;
    let function = "CREATE FUNCTION tienda_de(bigint) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT tienda_id FROM public.pedidos WHERE id = $1'";
    scene.other.batch_execute(function).await.unwrap();
    let lookup = via(
        "lineas",
        "SELECT tienda_de(c.pedido_id) FROM changed c",
        &[],
    );
    let catalog = stream(&["tienda_id"], vec![pedidos(), lookup]);
    let changes = scene.database.install(&catalog).await.unwrap();
    let warning = changes.iter().find_map(|change| match change {
        InstallChange::Warning(text) => Some(text),
        _ => None,
    });
    let warning = warning.unwrap();
    assert!(
        warning.contains("tienda_de(bigint)") && warning.contains("lineas"),
        "{warning}"
    );
}
