//! Changes are reported only if they happened, whatever a database role without rights tries.

use tokio_postgres::Client;

use super::*;
use crate::harness::cluster::{OwnCluster, connect};

/// A message of Ana in the first conversation.
const MESSAGE: Uuid = Uuid::from_u128(0xeeee_0000_0000_4000_8000_0000_0000_0001);

async fn insert_message(client: &Client) {
    let sql = format!(
        "INSERT INTO messages (id, conversation_id, sender_id, content) VALUES ('{MESSAGE}', '{CONVERSATION}', '{ANA}', 'x')"
    );
    client.batch_execute(&sql).await.unwrap();
}

async fn count_changes(client: &Client) -> i64 {
    let rows = client.query("SELECT count(*) FROM messaging_changes", &[]);
    rows.await.unwrap()[0].get(0)
}

/// Returns the SQLSTATE with which a statement fails.
async fn refusal(client: &Client, sql: &str) -> String {
    let error = client.batch_execute(sql).await.expect_err(sql);
    error
        .code()
        .map_or_else(String::new, |code| code.code().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn stranger_cannot_use_the_trigger_functions() {
    let cluster = OwnCluster::start(&[]).await;
    let owner = cluster.client().await;
    owner.batch_execute(SCHEMA.install_sql).await.unwrap();
    owner
        .batch_execute("CREATE ROLE stranger LOGIN")
        .await
        .unwrap();
    insert_conversations(&owner).await;
    insert_message(&owner).await;
    let before = count_changes(&owner).await;
    let attacks = [
        (
            "messaging_on_message",
            "id uuid, conversation_id uuid, sender_id uuid, message_type text, content bytea, metadata jsonb, \
             is_deleted boolean, delete_for_everyone boolean",
            format!("'{MESSAGE}', '{CONVERSATION}', '{ANA}'"),
        ),
        (
            "messaging_on_receipt",
            "message_id uuid, user_id uuid, delivered_at timestamptz, read_at timestamptz",
            format!("'{MESSAGE}', '{EVA}', now(), now()"),
        ),
        (
            "messaging_on_reaction",
            "id uuid, message_id uuid, user_id uuid, reaction text, inserted_at timestamptz",
            format!("gen_random_uuid(), '{MESSAGE}', '{EVA}', 'x', now()"),
        ),
        (
            "messaging_on_notification",
            "id uuid, user_id uuid, payload jsonb, inserted_at timestamptz",
            format!("gen_random_uuid(), '{EVA}', '{{}}', now()"),
        ),
        (
            "messaging_on_member",
            "conversation_id uuid, user_id uuid, settings jsonb, last_read_at timestamptz, is_active boolean",
            format!("'{CONVERSATION}', '{OUTSIDER}', '{{}}', NULL, true"),
        ),
    ];
    let stranger = connect(&cluster.url().replacen("postgres@", "stranger@", 1)).await;
    for (function, columns, _) in &attacks {
        let sql = format!(
            "CREATE TEMP TABLE of_{function} ({columns});
             CREATE TRIGGER t AFTER INSERT OR DELETE ON of_{function} FOR EACH ROW EXECUTE FUNCTION {function}()"
        );
        assert_eq!(refusal(&stranger, &sql).await, "42501", "{function}");
    }
    // A trigger that was made before the rights were withdrawn stays.
    owner
        .batch_execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO stranger")
        .await
        .unwrap();
    for (function, columns, values) in &attacks {
        let sql = format!(
            "CREATE TEMP TABLE of_{function} ({columns});
             CREATE TRIGGER t AFTER INSERT OR DELETE ON of_{function} FOR EACH ROW EXECUTE FUNCTION {function}()"
        );
        stranger.batch_execute(&sql).await.unwrap();
        let insert = format!("INSERT INTO of_{function} VALUES ({values})");
        assert_eq!(refusal(&stranger, &insert).await, "42501", "{function}");
    }
    assert_eq!(count_changes(&owner).await, before);
}

#[tokio::test]
async fn only_the_owner_writes_the_log() {
    let home = TestDatabase::create(&[]).await;
    let client = home.client().await;
    client
        .batch_execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC")
        .await
        .unwrap();
    client.batch_execute(SCHEMA.install_sql).await.unwrap();
    let sql = "SELECT privilege_type FROM pg_class c, aclexplode(c.relacl) a
               WHERE c.relname = 'messaging_changes' AND a.grantee <> c.relowner";
    let rows = client.query(sql, &[]).await.unwrap();
    let left: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(left, ["SELECT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_the_tables_contradict_are_passed_over() {
    let (_home, client, store) = create_store().await;
    insert_message(&client).await;
    client
        .batch_execute(&format!(
            "INSERT INTO message_reactions (message_id, user_id, reaction) VALUES ('{MESSAGE}', '{EVA}', 'x')"
        ))
        .await
        .unwrap();
    let cursor = store.cursor().await.unwrap();
    let forged = [
        ("message_added", SECOND_CONVERSATION, ANA, "{}"),
        ("message_edited", SECOND_CONVERSATION, ANA, "{}"),
        (
            "message_deleted",
            CONVERSATION,
            ANA,
            r#"{"everyone": true}"#,
        ),
        ("message_read", CONVERSATION, EVA, "{}"),
        ("message_delivered", CONVERSATION, EVA, "{}"),
        ("reaction_added", CONVERSATION, EVA, r#"{"reaction": "y"}"#),
        (
            "reaction_added",
            SECOND_CONVERSATION,
            EVA,
            r#"{"reaction": "x"}"#,
        ),
        (
            "reaction_removed",
            CONVERSATION,
            EVA,
            r#"{"reaction": "x"}"#,
        ),
        ("notification", CONVERSATION, EVA, r#"{"title": "x"}"#),
        ("member_added", CONVERSATION, OUTSIDER, "{}"),
        ("member_removed", CONVERSATION, ANA, "{}"),
        ("conversation_read", CONVERSATION, OUTSIDER, "{}"),
        (
            "settings_updated",
            CONVERSATION,
            OUTSIDER,
            r#"{"settings": {}}"#,
        ),
        // The last one is true, but for what it says about the settings.
        (
            "settings_updated",
            CONVERSATION,
            ANA,
            r#"{"settings": {"a": 1}, "archived": true}"#,
        ),
    ];
    for (kind, conversation, user, detail) in forged {
        let sql = format!(
            "INSERT INTO messaging_changes (kind, conversation_id, message_id, user_id, detail)
             VALUES ('{kind}', '{conversation}', '{MESSAGE}', '{user}', '{detail}')"
        );
        client.batch_execute(&sql).await.unwrap();
    }
    let changes = store.changes(&cursor).await.unwrap().changes;
    let kinds: Vec<&str> = changes.iter().map(|change| &*change.kind).collect();
    assert_eq!(kinds, ["settings_updated"]);
    let detail: Value = serde_json::from_str(&changes[0].detail).unwrap();
    assert_eq!(
        detail,
        json!({"settings": {}, "archived": false, "pinned": null})
    );
}
