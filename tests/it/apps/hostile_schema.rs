//! Nothing that the apps install or send is captured by objects of another schema. The database has
//! look-alikes of functions, operators and types in `public`, which is the first schema of its
//! search path.

use std::collections::BTreeSet;
use std::time::Duration;

use latido::config::{ConfigSources, Purpose, Settings};
use latido_app_messaging::{
    MessageDraft, MessagingDatabase, ReactionOutcome, SCHEMA, WriteOutcome,
};
use latido_postgres::{Config, Database};
use serde_json::json;
use tokio_postgres::Client;
use uuid::Uuid;

use super::modules::{PASSWORD_HASH, VARIABLES, connect_module, get_summary};
use crate::harness::cluster::TestDatabase;
use crate::harness::{TestApp, wait_until};

/// The texts with every name that the apps' SQL uses.
const TEXTS: [&str; 9] = [
    include_str!("../../../sql/apps/messaging.sql"),
    include_str!("../../../sql/apps/messaging_uninstall.sql"),
    include_str!("../../../sql/apps/modules.sql"),
    include_str!("../../../sql/apps/modules_uninstall.sql"),
    include_str!("../../../sql/apps/modules_stats.sql"),
    include_str!("../../../internal/apps/messaging/src/database/changes.sql"),
    include_str!("../../../internal/apps/messaging/src/database/messaging_database.rs"),
    include_str!("../../../internal/apps/messaging/src/database/rows.rs"),
    include_str!("../../../internal/apps/modules/src/database.rs"),
];
const HOUR: Duration = Duration::from_secs(3600);
const ANA: Uuid = Uuid::from_u128(0xa);
const EVA: Uuid = Uuid::from_u128(0xe);
const CONVERSATION: Uuid = Uuid::from_u128(0xc);

/// Puts the look-alikes into `public`. Connections that are opened afterwards find them first.
async fn make_hostile(client: &Client) {
    let words: BTreeSet<String> = TEXTS
        .iter()
        .flat_map(|text| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')))
        .map(str::to_lowercase)
        .collect();
    let words: Vec<String> = words.into_iter().collect();
    let sql = "SELECT set_config('test.words', $1, false)";
    client.execute(sql, &[&words.join(" ")]).await.unwrap();
    let look_alikes = include_str!("../sql/hostile_schema.sql");
    client.batch_execute(look_alikes).await.unwrap();
}

/// Returns the name of an object that was called by mistake.
async fn captured(client: &Client) -> Option<String> {
    let rows = client.query("SELECT public.captured()", &[]).await.unwrap();
    rows[0].get(0)
}

fn message_of(outcome: WriteOutcome) -> Uuid {
    match outcome {
        WriteOutcome::Applied { message, .. } => message.id,
        WriteOutcome::Rejected(reason) => panic!("refused: {reason}"),
    }
}

async fn write_messages(store: &MessagingDatabase) {
    let draft = MessageDraft {
        kind: "text".into(),
        content: b"hola".to_vec(),
        metadata: "{}".into(),
        client_random: 1,
        reply_to: None,
        signature: None,
        sender_public_key: None,
    };
    let send = || store.send(ANA, CONVERSATION, &draft, HOUR);
    let message = message_of(send().await.unwrap());
    assert_eq!(message_of(send().await.unwrap()), message, "a retry");
    let edit = (&b"nueva"[..], Some("{}"));
    let edited = store.edit(ANA, CONVERSATION, message, edit, HOUR).await;
    message_of(edited.unwrap());
    assert_eq!(store.undelivered(EVA, 10).await.unwrap().len(), 1);
    assert_eq!(store.unread(EVA).await.unwrap().len(), 1);
    let receipt = store.record_receipt(EVA, CONVERSATION, message, true);
    assert_eq!(receipt.await.unwrap(), None);
    let added = store.add_reaction(EVA, CONVERSATION, message, "👍").await;
    assert!(matches!(added.unwrap(), ReactionOutcome::Added(_)));
    let removed = store.remove_reaction(EVA, CONVERSATION, message, "👍");
    assert_eq!(removed.await.unwrap(), None);
    let marked = store.mark_all_read(EVA, CONVERSATION).await.unwrap();
    assert_eq!(marked, Some(0));
    assert_eq!(store.messages(&[message]).await.unwrap().len(), 1);
    let deleted = store.delete(ANA, CONVERSATION, message, true, HOUR).await;
    message_of(deleted.unwrap());
}

async fn read_conversations(store: &MessagingDatabase) {
    assert_eq!(store.summaries(EVA).await.unwrap()[0].member_count, 2);
    assert_eq!(store.contacts(EVA).await.unwrap(), [ANA]);
    assert_eq!(store.conversations(&[CONVERSATION]).await.unwrap().len(), 1);
    let members = store.members(&[CONVERSATION], &[ANA, EVA]).await.unwrap();
    assert_eq!(members.len(), 2);
    assert!(store.conversation(ANA, CONVERSATION).await.unwrap().0);
}

#[tokio::test(flavor = "multi_thread")]
async fn look_alikes_capture_unqualified_names() {
    let home = TestDatabase::create(&[]).await;
    let client = home.client().await;
    make_hostile(&client).await;
    let victim = home.client().await;
    for (sql, name) in [
        ("SELECT 1 + 1", "+ of integer,integer"),
        ("SELECT now()", "now()"),
        ("SELECT 'x'::text", "type text"),
        ("SELECT array_to_json(ARRAY['x'])", "array_to_json(text[])"),
    ] {
        victim.batch_execute(sql).await.expect_err(sql);
        assert_eq!(captured(&client).await.as_deref(), Some(name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messaging_is_not_captured() {
    let home = TestDatabase::create(&[]).await;
    let client = home.client().await;
    make_hostile(&client).await;
    let writer = home.client().await;
    writer.batch_execute(SCHEMA.install_sql).await.unwrap();
    let conversation = format!(
        "INSERT INTO conversations (id) VALUES ('{CONVERSATION}');
         INSERT INTO conversation_members (conversation_id, user_id)
           VALUES ('{CONVERSATION}', '{ANA}'), ('{CONVERSATION}', '{EVA}');
         UPDATE conversations SET type = 'group';
         UPDATE conversation_members SET settings = '{{\"archived\": true}}'"
    );
    writer.batch_execute(&conversation).await.unwrap();
    let database = Database::open(&Config::new(home.url())).unwrap();
    let store = MessagingDatabase::new(database.writer(2).unwrap());
    store.check_schema().await.unwrap();
    let cursor = store.cursor().await.unwrap();
    write_messages(&store).await;
    read_conversations(&store).await;
    store.notify(ANA, EVA, "{}").await.unwrap();
    assert!(!store.changes(&cursor).await.unwrap().changes.is_empty());
    let leave = "DELETE FROM conversation_members; DELETE FROM messages";
    writer.batch_execute(leave).await.unwrap();
    assert!(!store.changes(&cursor).await.unwrap().changes.is_empty());
    store.delete_old_changes().await.unwrap();
    writer.batch_execute(SCHEMA.uninstall_sql).await.unwrap();
    assert_eq!(captured(&client).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_are_not_captured() {
    let home = TestDatabase::create(&[]).await;
    let client = home.client().await;
    make_hostile(&client).await;
    let writer = home.client().await;
    let [_, _, install, uninstall, stats, ..] = TEXTS;
    writer.batch_execute(install).await.unwrap();
    let changes = "INSERT INTO modules (module_id, name) VALUES ('M1', 'Loop'), ('M2', NULL);
                   UPDATE modules SET name = 'Ring';
                   DELETE FROM modules WHERE name IS NULL;
                   TRUNCATE modules";
    writer.batch_execute(changes).await.unwrap();
    let stats = stats.replace("$1", "'{all}'").replace("$2", "'{today}'");
    writer.batch_execute(&stats).await.unwrap();
    writer.batch_execute(uninstall).await.unwrap();
    assert_eq!(captured(&client).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_with_modules_is_not_captured() {
    let home = TestDatabase::create(&["sql/schema.sql", "tests/it/sql/people.sql"]).await;
    let mut variables = vec![("DATABASE_URL", home.url())];
    variables.extend(VARIABLES);
    let sources = ConfigSources::from_variables(&variables);
    let settings = Settings::read(&sources, Purpose::Install).unwrap();
    latido::app::install(settings).await.unwrap();
    let client = home.client().await;
    make_hostile(&client).await;
    let writer = home.client().await;
    let (install, uninstall) = (TEXTS[2], TEXTS[3]);
    writer.batch_execute(install).await.unwrap();
    let rows = format!(
        "INSERT INTO users (id, name) VALUES (7, 'Ana');
         INSERT INTO modules (module_id, name, module_code, module_password_hash, user_id, claimed) VALUES
           ('M1', 'Loop', 'c1', '{PASSWORD_HASH}', 7, true), ('M3', NULL, 'c3', NULL, NULL, false);
         INSERT INTO module_state (module_id, telemetry) VALUES ('M1', NULL)"
    );
    writer.batch_execute(&rows).await.unwrap();
    let mut app = TestApp::on_database_with(home.url(), &VARIABLES, |_| {}).await;
    wait_until("the rows are known", async || {
        get_summary(&app, 1, "admin").await["totalModules"] == 2
    })
    .await;
    let mut device = connect_module(&app, "M1").await;
    device
        .send(&json!({"type": "telemetry", "uptime": 9}))
        .await;
    let update = "UPDATE modules SET name = 'Ring'; DELETE FROM modules WHERE module_id OPERATOR(pg_catalog.=) 'M3'";
    writer.batch_execute(update).await.unwrap();
    wait_until("the rows are read again", async || {
        get_summary(&app, 1, "admin").await["totalModules"] == 1
    })
    .await;
    wait_until("the state is saved", async || {
        let sql = "SELECT FROM module_state WHERE telemetry IS NOT NULL";
        !writer.query(sql, &[]).await.unwrap().is_empty()
    })
    .await;
    assert!(app.stop().await);
    writer.batch_execute(uninstall).await.unwrap();
    assert_eq!(captured(&client).await, None);
}
