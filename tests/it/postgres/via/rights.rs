//! Who may do what: no writer needs a right on the parents, none gains one, and nobody else runs what
//! the triggers run. Roles belong to a cluster, so this has one of its own.

use std::collections::BTreeSet;

use latido_postgres::{Database, FindingLevel, InstallChange, examine};
use tokio_postgres::Client;

use super::super::triggers::{NotificationTap, set};
use super::{SCHEMA, lineas, open, stream, told, ventas, watch};
use crate::harness::cluster::{OwnCluster, connect};

const ROLES: &str = "CREATE ROLE duena LOGIN; CREATE ROLE escritor LOGIN; CREATE ROLE atacante LOGIN;
    GRANT ALL ON SCHEMA public TO duena; GRANT USAGE ON SCHEMA public TO escritor, atacante; GRANT CREATE ON DATABASE latido TO duena";
const GRANTS: &str = "GRANT SELECT, INSERT, UPDATE, DELETE ON lineas TO escritor, atacante; GRANT USAGE ON SEQUENCE lineas_id_seq TO escritor, atacante";

const UPDATE: &str = "UPDATE public.lineas SET cantidad = cantidad + 1 WHERE id = 1";

/// What an attacker may create to be found by name, by the search path, or as an operator.
const TRAPS: [&str; 11] = [
    "CREATE FUNCTION public.robar() RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.robado VALUES (current_user); RETURN 'x'; END $$",
    "CREATE TEMP TABLE pedidos AS SELECT 1::bigint AS id, 20::bigint AS tienda_id",
    "CREATE TEMP TABLE latido_new (pedido_id bigint)",
    "CREATE TEMP TABLE latido_old (pedido_id bigint)",
    "CREATE TEMP TABLE changed (pedido_id bigint)",
    "CREATE DOMAIN pg_temp.record AS text",
    "CREATE FUNCTION public.to_json(text) RETURNS json LANGUAGE sql AS $$ SELECT pg_catalog.to_json(public.robar()) $$",
    "CREATE FUNCTION public.iguales(bigint, bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT public.robar() IS NULL $$",
    "CREATE OPERATOR public.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = public.iguales)",
    "CREATE FUNCTION public.pg_try_advisory_xact_lock(int, int) RETURNS boolean LANGUAGE sql AS $$ SELECT public.robar() IS NULL $$",
    "SET search_path = pg_temp, public, pg_catalog",
];

/// A database of the role `duena`, with triggers of hers.
struct Owned {
    tap: Tap,
    duena: Client,
    cluster: OwnCluster,
    watcher: Client,
}

/// What is told, received by a connection of the superuser.
struct Tap(NotificationTap);

impl Tap {
    async fn told(&mut self, client: &Client, sql: &str) -> BTreeSet<String> {
        told(&self.0.payloads_of(client, sql).await)
    }
}

impl Owned {
    async fn new() -> Self {
        let cluster = OwnCluster::start(&[]).await;
        cluster.client().await.batch_execute(ROLES).await.unwrap();
        let url = cluster.url().replacen("postgres@", "duena@", 1);
        let duena = connect(&url).await;
        duena.batch_execute(SCHEMA).await.unwrap();
        duena.batch_execute(GRANTS).await.unwrap();
        open(&url, true).install(&ventas()).await.unwrap();
        let watcher = cluster.client().await;
        let keys: Vec<_> = (1..=20).map(|key: u32| key.to_string()).collect();
        let keys: Vec<_> = keys.iter().map(|key| vec![key.as_str()]).collect();
        watch(&watcher, &keys).await;
        let tap = NotificationTap::open_at(&cluster.url(), cluster.client().await).await;
        Self {
            tap: Tap(tap),
            duena,
            watcher,
            cluster,
        }
    }

    async fn role(&self, name: &str) -> Client {
        connect(
            &self
                .cluster
                .url()
                .replacen("postgres@", &format!("{name}@"), 1),
        )
        .await
    }

    fn database(&self) -> Database {
        open(&self.cluster.url().replacen("postgres@", "duena@", 1), true)
    }
}

fn code(error: &tokio_postgres::Error) -> String {
    error
        .code()
        .map(|code| code.code().to_owned())
        .unwrap_or_default()
}

#[tokio::test]
async fn writer_needs_no_right_on_the_parents() {
    let mut owned = Owned::new().await;
    let writer = owned.role("escritor").await;
    for sql in ["SELECT FROM pedidos", "SELECT latido.x()"] {
        let error = writer.batch_execute(sql).await.unwrap_err();
        assert_eq!(code(&error), "42501", "{sql}");
    }
    for (sql, key) in [
        (UPDATE, "1"),
        ("INSERT INTO lineas (pedido_id) VALUES (2)", "2"),
        ("DELETE FROM lineas WHERE id = 3", "3"),
    ] {
        assert_eq!(owned.tap.told(&writer, sql).await, set(&[key]), "{sql}");
    }
    let policy =
        "ALTER TABLE pedidos ENABLE ROW LEVEL SECURITY; GRANT SELECT ON pedidos TO escritor;
        CREATE POLICY nada ON pedidos TO escritor USING (false)";
    owned.duena.batch_execute(policy).await.unwrap();
    let hidden: i64 = writer
        .query_one("SELECT count(*) FROM pedidos", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(hidden, 0);
    assert_eq!(owned.tap.told(&writer, UPDATE).await, set(&["1"]));
    let off = format!("SET row_security = off; {UPDATE}");
    assert_eq!(owned.tap.told(&writer, &off).await, set(&["1"]));
    // The owner of the functions is filtered too: an error, and not a missed change.
    let force = "ALTER TABLE pedidos FORCE ROW LEVEL SECURITY";
    owned.duena.batch_execute(force).await.unwrap();
    assert_eq!(owned.tap.told(&writer, UPDATE).await, set(&["*(42501)"]));
    let fresh = owned.database();
    fresh.uninstall(&[]).await.unwrap();
    let error = fresh.install(&ventas()).await.unwrap_err().to_string();
    assert!(
        error.contains("row-level security") || error.contains("row security"),
        "{error}"
    );
}

/// Policies that come after an installation are named by the next, which changes nothing.
#[tokio::test]
async fn policies_that_filter_the_lookup_are_named() {
    let owned = Owned::new().await;
    let policies = "ALTER TABLE pedidos ENABLE ROW LEVEL SECURITY";
    owned.duena.batch_execute(policies).await.unwrap();
    let warnings = async || {
        let changes = owned.database().install(&ventas()).await.unwrap();
        let warning = |change: InstallChange| match change {
            InstallChange::Warning(text) => Some(text),
            _ => None,
        };
        changes.into_iter().filter_map(warning).collect::<Vec<_>>()
    };
    assert_eq!(warnings().await, Vec::<String>::new());
    let force = "ALTER TABLE pedidos FORCE ROW LEVEL SECURITY";
    owned.duena.batch_execute(force).await.unwrap();
    let [warning] = &warnings().await[..] else {
        panic!("one warning");
    };
    for part in ["`via` of table lineas", "pedidos", "BYPASSRLS"] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
}

/// The doctor examines a lookup with the rights that `latido grants` gives: those of columns.
#[tokio::test]
async fn rights_of_columns_are_enough_to_examine_a_lookup() {
    let owned = Owned::new().await;
    let grants = "REVOKE ALL ON lineas FROM escritor; GRANT SELECT (pedido_id, cantidad) ON lineas TO escritor;
        GRANT SELECT (id, tienda_id) ON pedidos TO escritor";
    owned.duena.batch_execute(grants).await.unwrap();
    let url = owned.cluster.url().replacen("postgres@", "escritor@", 1);
    let findings = examine(&open(&url, true), &ventas()).await;
    let found = findings
        .iter()
        .find(|f| f.subject.contains("via of lineas"));
    let found = found.unwrap();
    assert_eq!(
        (found.level, &*found.detail),
        (FindingLevel::Ok, "finds tienda_id, through pedidos")
    );
}

#[tokio::test]
async fn nobody_else_runs_what_the_triggers_run() {
    let mut owned = Owned::new().await;
    let admin = owned.cluster.client().await;
    let more =
        "GRANT CREATE ON SCHEMA public TO atacante; GRANT USAGE ON SCHEMA latido TO atacante;
        CREATE TABLE robado (quien text); GRANT INSERT, SELECT ON robado TO PUBLIC";
    admin.batch_execute(more).await.unwrap();
    let functions = "SELECT p.oid::regprocedure::text, p.prorettype = 'trigger'::regtype FROM pg_proc p WHERE pronamespace = 'latido'::regnamespace";
    let rows = admin.query(functions, &[]).await.unwrap();
    assert_eq!(
        rows.len(),
        6,
        "payloads, is_watched, pedidos, lineas, its lookup, and the moves of pedidos"
    );
    let attacker = owned.role("atacante").await;
    attacker
        .batch_execute("CREATE TABLE mia (LIKE lineas)")
        .await
        .unwrap();
    for row in rows {
        let (name, is_trigger): (String, bool) = (row.get(0), row.get(1));
        let bare = name.split('(').next().unwrap();
        let tries = match is_trigger {
            true => vec![
                format!(
                    "CREATE TRIGGER t AFTER INSERT ON mia REFERENCING NEW TABLE AS latido_new FOR EACH STATEMENT EXECUTE FUNCTION {name}"
                ),
                format!(
                    "CREATE OR REPLACE FUNCTION {name} RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'"
                ),
            ],
            // Whoever writes calls it, and learns whether anybody watches.
            false if bare.contains("is_watched") => Vec::new(),
            false if bare.contains("payloads") => {
                vec![format!("SELECT {bare}('ventas', ARRAY['1'])")]
            }
            false => vec![format!("SELECT {bare}(ARRAY[1])")],
        };
        for sql in tries
            .into_iter()
            .chain([format!("ALTER FUNCTION {name} RESET search_path")])
        {
            let error = attacker.batch_execute(&sql).await.expect_err(&sql);
            assert_eq!(code(&error), "42501", "{sql}");
        }
    }
    // What an attacker makes is not found: not by name, not by the search path, not as an operator.
    for sql in TRAPS {
        attacker.batch_execute(sql).await.expect(sql);
    }
    assert_eq!(owned.tap.told(&attacker, UPDATE).await, set(&["1"]));
    let insert = "INSERT INTO public.lineas (pedido_id) VALUES (1), (2)";
    assert_eq!(owned.tap.told(&attacker, insert).await, set(&["1", "2"]));
    let many = "UPDATE public.lineas SET cantidad = cantidad OPERATOR(pg_catalog.+) 1 WHERE id OPERATOR(pg_catalog.<) 3";
    assert_eq!(owned.tap.told(&attacker, many).await, set(&["1", "2"]));
    // The lookup is bound to its table, so nothing of the same name can take its place.
    attacker.batch_execute("RESET search_path").await.unwrap();
    owned
        .duena
        .batch_execute("ALTER TABLE pedidos RENAME TO pedidos_2")
        .await
        .unwrap();
    let view = "CREATE VIEW public.pedidos AS SELECT 1::bigint AS id, length(public.robar())::bigint AS tienda_id; GRANT SELECT ON public.pedidos TO PUBLIC";
    attacker.batch_execute(view).await.unwrap();
    assert_eq!(owned.tap.told(&attacker, UPDATE).await, set(&["1"]));
    let robbed = "SELECT count(*) FROM robado WHERE quien <> 'atacante'";
    let robbed: i64 = admin.query_one(robbed, &[]).await.unwrap().get(0);
    assert_eq!(robbed, 0, "ran with rights of another");
}

#[tokio::test]
async fn role_without_rights_on_the_parents_cannot_install() {
    let owned = Owned::new().await;
    owned.database().uninstall(&[]).await.unwrap();
    let admin = owned.cluster.client().await;
    admin
        .batch_execute("ALTER TABLE pedidos OWNER TO postgres; GRANT TRIGGER ON pedidos TO duena")
        .await
        .unwrap();
    let error = owned
        .database()
        .install(&stream(&["tienda_id"], vec![lineas()]))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("permission denied for table pedidos"),
        "{error}"
    );
}

/// The condition of a trigger runs as the writer. It must not fail, whatever rights a writer loses.
#[tokio::test]
async fn writes_go_on_without_the_right_to_try_locks() {
    let mut owned = Owned::new().await;
    let (writer, admin) = (owned.role("escritor").await, owned.cluster.client().await);
    let change = |verb: &str, to: &str| {
        format!(
            "{verb} EXECUTE ON FUNCTION pg_try_advisory_xact_lock(int, int), pg_backend_pid() {to}"
        )
    };
    admin
        .batch_execute(&change("REVOKE", "FROM PUBLIC"))
        .await
        .unwrap();
    let insert = "INSERT INTO public.lineas (pedido_id) VALUES (2)";
    let delete = "DELETE FROM public.lineas WHERE id = 3";
    for sql in [UPDATE, insert, delete] {
        let told = owned.tap.told(&writer, sql).await;
        assert_eq!(told, set(&["*(42501)"]), "{sql}: any key may have changed");
    }
    let moves = "UPDATE pedidos SET tienda_id = 3 WHERE id = 1";
    owned.tap.told(&owned.duena, moves).await;
    // The triggers ask with the rights of their owner.
    admin
        .batch_execute(&change("GRANT", "TO duena"))
        .await
        .unwrap();
    assert_eq!(owned.tap.told(&writer, UPDATE).await, set(&["3"]));
    let unlock = "SELECT pg_advisory_unlock_all()";
    owned.watcher.batch_execute(unlock).await.unwrap();
    assert_eq!(owned.tap.told(&writer, UPDATE).await, set(&[]));
    let report = owned.database().triggers(&ventas()).await.unwrap();
    assert!(report.are_current(), "{report:?}");
    // The one right that a writer needs is noticed if it is gone, and comes back.
    let revoke = "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA latido FROM PUBLIC";
    owned.duena.batch_execute(revoke).await.unwrap();
    assert_eq!(
        code(&writer.batch_execute(UPDATE).await.unwrap_err()),
        "42501"
    );
    let report = owned.database().triggers(&ventas()).await.unwrap();
    assert!(!report.are_current(), "{report:?}");
    owned.database().install(&ventas()).await.unwrap();
    writer.batch_execute(UPDATE).await.unwrap();
}
