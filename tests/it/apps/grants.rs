//! `latido grants`: a role with exactly these privileges can do what the streams and every app do.

use std::time::Duration;

use latido::app;
use latido::config::{ConfigSources, Purpose, Settings};
use latido_app_messaging::{MessageDraft, MessagingDatabase, ReactionOutcome, WriteOutcome};
use latido_postgres::{Config, Database, FindingLevel, InstallChange};
use tokio_postgres::Client;

use super::messaging::{ANA, CONVERSATION, EVA, insert_conversations};
use crate::harness::TempFolder;
use crate::harness::claims::SECRET;
use crate::harness::cluster::{OwnCluster, connect};

const SCHEMA_FILES: [&str; 3] = ["sql/schema.sql", "tests/it/sql/people.sql", "sql/role.sql"];
const HOUR: Duration = Duration::from_secs(3600);

fn latido_url(cluster: &OwnCluster) -> String {
    cluster.url().replacen("postgres@", "latido@", 1)
}

fn settings(url: &str, more: &[(&str, &str)]) -> Settings {
    let fixed = [("DATABASE_URL", url), ("JWT_SECRET", SECRET)];
    let all: Vec<_> = fixed.iter().chain(more).copied().collect();
    Settings::read(&ConfigSources::from_variables(&all), Purpose::Install).unwrap()
}

/// Starts a server with every app's tables and the documented role, which has its privileges on the
/// built-in stream only. New functions are nobody's but their owner's, as in a careful database.
async fn start_cluster(variables: &[(&str, &str)]) -> (OwnCluster, Client, Vec<String>) {
    let cluster = OwnCluster::start(&SCHEMA_FILES).await;
    let owner = cluster.client().await;
    owner
        .batch_execute("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
        .await
        .unwrap();
    let report = app::install(settings(&cluster.url(), variables)).await;
    (cluster, owner, warnings_of(&report.unwrap()))
}

fn warnings_of(changes: &[InstallChange]) -> Vec<String> {
    let warning = |change: &InstallChange| match change {
        InstallChange::Warning(text) => Some(text.clone()),
        _ => None,
    };
    changes.iter().filter_map(warning).collect()
}

/// Returns the findings about the role's privileges that are not in order.
async fn privilege_findings(cluster: &OwnCluster, variables: &[(&str, &str)]) -> Vec<String> {
    let findings = app::doctor(settings(&latido_url(cluster), variables), false).await;
    let about = |subject: &str| subject == "role" || subject == "privileges";
    findings
        .unwrap()
        .into_iter()
        .filter(|finding| finding.level > FindingLevel::Ok && about(&finding.subject))
        .map(|finding| {
            format!(
                "{} {}",
                finding.detail,
                finding.with_remedy.unwrap_or_default()
            )
        })
        .collect()
}

#[tokio::test]
async fn granted_role_can_do_what_the_apps_do() {
    let apps = [("LATIDO_APPS", "workspace,gateway,messaging,modules")];
    let (cluster, owner, warnings) = start_cluster(&apps).await;
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains("the role latido lacks")
            && warnings[0].contains("latido grants --role latido --apply"),
        "{warnings:?}"
    );
    let before = privilege_findings(&cluster, &apps).await;
    assert!(
        before.len() == 1 && before[0].contains("latido grants --role latido --apply"),
        "{before:?}"
    );
    let printed = app::grants(settings(&cluster.url(), &apps), "latido", false).await;
    assert_eq!(
        privilege_findings(&cluster, &apps).await,
        before,
        "only printed"
    );
    owner.batch_execute(&printed.unwrap()).await.unwrap();
    let after = privilege_findings(&cluster, &apps).await;
    assert!(after.is_empty(), "{after:?}");
    let again = app::install(settings(&cluster.url(), &apps)).await.unwrap();
    assert!(warnings_of(&again).is_empty(), "{again:?}");

    insert_conversations(&owner).await;
    use_messaging(&cluster).await;
    use_modules(&cluster, &owner).await;
}

/// Calls every function of the store as the serving role.
async fn use_messaging(cluster: &OwnCluster) {
    let database = Database::open(&Config::new(latido_url(cluster))).unwrap();
    let store = MessagingDatabase::new(database.writer(2).unwrap());
    store.check_schema().await.unwrap();
    let draft = MessageDraft {
        kind: "text".to_owned(),
        content: b"hola".to_vec(),
        metadata: "{}".to_owned(),
        client_random: 1,
        reply_to: None,
        signature: None,
        sender_public_key: None,
    };
    let cursor = store.cursor().await.unwrap();
    let sent = store.send(ANA, CONVERSATION, &draft, HOUR).await.unwrap();
    let WriteOutcome::Applied { message, .. } = sent else {
        panic!("{sent:?}")
    };
    let id = message.id;
    let edited = store.edit(ANA, CONVERSATION, id, (b"adios", None), HOUR);
    assert!(matches!(
        edited.await.unwrap(),
        WriteOutcome::Applied { .. }
    ));
    let receipt = store.record_receipt(EVA, CONVERSATION, id, true);
    assert_eq!(receipt.await.unwrap(), None);
    store.mark_all_read(EVA, CONVERSATION).await.unwrap();
    let reaction = store.add_reaction(EVA, CONVERSATION, id, "ok").await;
    assert!(matches!(reaction.unwrap(), ReactionOutcome::Added(_)));
    let removed = store.remove_reaction(EVA, CONVERSATION, id, "ok").await;
    assert_eq!(removed.unwrap(), None);
    store.summaries(EVA).await.unwrap();
    store.unread(EVA).await.unwrap();
    store.messages(&[id]).await.unwrap();
    store.conversations(&[CONVERSATION]).await.unwrap();
    store.members(&[CONVERSATION], &[]).await.unwrap();
    store.contacts(EVA).await.unwrap();
    store.notify(id, EVA, r#"{"a":1}"#).await.unwrap();
    store.changes(&cursor).await.unwrap();
    store.delete_old_changes().await.unwrap();
    let deleted = store.delete(ANA, CONVERSATION, id, true, HOUR).await;
    assert!(matches!(deleted.unwrap(), WriteOutcome::Applied { .. }));
}

/// Runs what the app's statements do, and what they must not do, as the serving role.
async fn use_modules(cluster: &OwnCluster, owner: &Client) {
    owner
        .batch_execute("INSERT INTO modules (module_id) VALUES ('m1')")
        .await
        .unwrap();
    let latido = connect(&latido_url(cluster)).await;
    let statements = [
        "SELECT m.*, s.* FROM modules m LEFT JOIN module_state s USING (module_id)",
        "SELECT sess->>'user_id' FROM session WHERE sid = 'x' AND expire > now()",
        "SELECT count(*) FROM users",
        "UPDATE modules SET user_id = 1, claimed = true WHERE module_id = 'm1'",
        "UPDATE modules SET status = 'online', last_seen = now() WHERE module_id = 'm1'",
        "INSERT INTO module_state AS s (module_id, online, last_seen, telemetry, updated_at) VALUES ('m1', true, now(), '{}', now())
         ON CONFLICT (module_id) DO UPDATE SET online = excluded.online, telemetry = coalesce(excluded.telemetry, s.telemetry)",
    ];
    for sql in statements {
        latido.batch_execute(sql).await.expect(sql);
    }
    for sql in [
        "UPDATE modules SET module_password_hash = 'x'",
        "DELETE FROM modules",
        "SELECT email FROM users",
        "UPDATE session SET sess = '{}'",
        "INSERT INTO messaging_changes (kind, conversation_id) VALUES ('message_added', gen_random_uuid())",
        "INSERT INTO conversation_members (conversation_id, user_id) VALUES (gen_random_uuid(), gen_random_uuid())",
        "DELETE FROM messages",
        "DELETE FROM messaging_notifications",
    ] {
        let error = latido.batch_execute(sql).await.expect_err(sql);
        assert_eq!(error.code().unwrap().code(), "42501", "{sql}");
    }
}

#[tokio::test]
async fn own_streams_get_the_columns_that_they_list() {
    let folder = TempFolder::new();
    let toml = "builtin_streams = false
        [streams.pedidos]
        query = \"SELECT k, (SELECT count(*) FROM tienda.pedidos p WHERE p.tienda_id = k AND p.pagado) AS n FROM unnest($1::bigint[]) AS k\"
        key_field = \"tienda_id\"
        [[streams.pedidos.tables]]
        table = \"tienda.pedidos\"
        key = \"tienda_id\"
        columns = [\"pagado\"]";
    let file = folder.write("latido.toml", toml);
    let variables = [("LATIDO_CONFIG", file.to_str().unwrap())];
    let cluster = OwnCluster::start(&SCHEMA_FILES).await;
    let owner = cluster.client().await;
    let sql = "CREATE SCHEMA tienda; CREATE TABLE tienda.pedidos (tienda_id bigint, pagado bool, tarjeta text)";
    owner.batch_execute(sql).await.unwrap();
    app::install(settings(&cluster.url(), &variables))
        .await
        .unwrap();
    let script = app::grants(settings(&cluster.url(), &variables), "latido", true).await;
    assert_eq!(
        script.unwrap(),
        "GRANT CONNECT ON DATABASE \"latido\" TO \"latido\";\n\
         GRANT USAGE ON SCHEMA \"tienda\" TO \"latido\";\n\
         GRANT SELECT (\"pagado\", \"tienda_id\") ON TABLE \"tienda\".\"pedidos\" TO \"latido\";\n"
    );
    let findings = app::doctor(settings(&latido_url(&cluster), &variables), false).await;
    let failed: Vec<_> = findings
        .unwrap()
        .into_iter()
        .filter(|finding| finding.level == FindingLevel::Failure)
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    let toml = format!(
        "{toml}
        [streams.otra]
        query = \"SELECT k, (SELECT count(*) FROM tienda.pedidos p WHERE p.tienda_id = k) AS n FROM unnest($1::bigint[]) AS k\"
        key_field = \"tienda_id\"
        authorize = \"SELECT e.tienda_id::text FROM empleados e WHERE e.usuario = $1 AND e.tienda_id::text = ANY ($2)\"
        time_zone = \"SELECT z.id, z.zona FROM vista z WHERE z.id = ANY ($1::bigint[])\"
        [[streams.otra.tables]]
        table = \"tienda.pedidos\"
        key = \"tienda_id\""
    );
    folder.write("latido.toml", &toml);
    let sql = "CREATE TABLE empleados (usuario text, tienda_id bigint, sueldo int); CREATE TABLE zonas (id bigint, zona text, nota text);
               CREATE VIEW vista AS SELECT id, zona FROM zonas";
    owner.batch_execute(sql).await.unwrap();
    let script = app::grants(settings(&cluster.url(), &variables), "latido", true)
        .await
        .unwrap();
    for line in [
        "GRANT SELECT (\"tienda_id\", \"usuario\") ON TABLE \"public\".\"empleados\"",
        "GRANT SELECT ON TABLE \"public\".\"vista\"",
    ] {
        assert!(script.contains(line), "{line} in {script}");
    }
    let unknown = app::grants(settings(&cluster.url(), &variables), "nobody", true).await;
    assert!(unknown.unwrap_err().to_string().contains("nobody"));
}
