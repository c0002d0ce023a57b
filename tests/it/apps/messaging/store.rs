//! The guarantees that the database itself enforces, for every client.

use std::time::Duration;

use latido_postgres::apps::messaging::{
    ChangeCursor, MessageDraft, MessagingDatabase, ReactionOutcome, StoredMessage, WriteOutcome,
};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::apps::messaging::{ANA, CONVERSATION, EVA, OUTSIDER, SECOND_CONVERSATION, create_store};

const HOUR: Duration = Duration::from_secs(3600);

fn draft(content: &str, client_random: i32) -> MessageDraft {
    MessageDraft {
        kind: "text".to_owned(),
        content: content.into(),
        metadata: r#"{"a":1}"#.to_owned(),
        client_random,
        reply_to: None,
        signature: None,
        sender_public_key: None,
    }
}

async fn send(
    store: &MessagingDatabase,
    user: Uuid,
    content: &str,
    random: i32,
) -> (StoredMessage, bool) {
    match store
        .send(user, CONVERSATION, &draft(content, random), HOUR)
        .await
        .unwrap()
    {
        WriteOutcome::Applied { message, is_new } => (*message, is_new),
        WriteOutcome::Rejected(reason) => panic!("refused: {reason}"),
    }
}

fn refusal_reason(outcome: WriteOutcome) -> String {
    match outcome {
        WriteOutcome::Rejected(reason) => reason,
        WriteOutcome::Applied { .. } => panic!("the write was applied"),
    }
}

async fn refused_send(
    store: &MessagingDatabase,
    user: Uuid,
    conversation: Uuid,
    draft: &MessageDraft,
) -> String {
    let outcome = store.send(user, conversation, draft, HOUR).await;
    refusal_reason(outcome.unwrap())
}

async fn refused_edit(
    store: &MessagingDatabase,
    user: Uuid,
    conversation: Uuid,
    message: Uuid,
    limit: Duration,
) -> String {
    let outcome = store.edit(user, conversation, message, (b"x", None), limit);
    refusal_reason(outcome.await.unwrap())
}

async fn refused_delete(
    store: &MessagingDatabase,
    user: Uuid,
    conversation: Uuid,
    message: Uuid,
    limit: Duration,
) -> String {
    let outcome = store.delete(user, conversation, message, true, limit);
    refusal_reason(outcome.await.unwrap())
}

/// Records that a message was read. Returns the reason if that was refused.
async fn refused_receipt(
    store: &MessagingDatabase,
    user: Uuid,
    conversation: Uuid,
    message: Uuid,
) -> Option<String> {
    let outcome = store.record_receipt(user, conversation, message, true);
    outcome.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_is_stored_once_and_number_collision_twice() {
    let (_home, client, store) = create_store().await;
    let attempts = (0..8).map(|_| send(&store, ANA, "hola", 7));
    let sent = futures_util::future::join_all(attempts).await;
    assert_eq!(
        sent.iter().filter(|(_, is_new)| *is_new).count(),
        1,
        "eight attempts at once"
    );
    assert!(
        sent.iter()
            .all(|(message, _)| message.id == sent[0].0.id && message.content == b"hola")
    );
    assert!(
        send(&store, ANA, "otra", 7).await.1,
        "another message that happens to have the number"
    );
    assert!(
        send(&store, EVA, "hola", 7).await.1,
        "the message of another user"
    );
    let first = sent[0].0.id;
    let edit = store
        .edit(ANA, CONVERSATION, first, (b"nueva", None), HOUR)
        .await
        .unwrap();
    assert!(matches!(edit, WriteOutcome::Applied { is_new: true, .. }));
    let (again, is_new) = send(&store, ANA, "hola", 7).await;
    assert_eq!(
        (again.id, again.content, is_new),
        (first, b"nueva".to_vec(), false),
        "a late retry of an edited message"
    );
    client
        .batch_execute("UPDATE messages SET sent_at = now() - interval '2 hours'")
        .await
        .unwrap();
    assert!(
        send(&store, ANA, "hola", 7).await.1,
        "outside of the window it is a new message"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_checks_the_conversation_of_the_message() {
    let (_home, _client, store) = create_store().await;
    let id = send(&store, ANA, "hola", 1).await.0.id;
    let elsewhere = MessageDraft {
        reply_to: Some(id),
        ..draft("x", 2)
    };
    assert_eq!(
        refused_send(&store, ANA, SECOND_CONVERSATION, &elsewhere).await,
        "reply_to_id"
    );
    assert_eq!(
        refused_edit(&store, ANA, SECOND_CONVERSATION, id, HOUR).await,
        "not_found"
    );
    assert_eq!(
        refused_delete(&store, ANA, SECOND_CONVERSATION, id, HOUR).await,
        "message_not_found"
    );
    assert_eq!(
        refused_receipt(&store, EVA, SECOND_CONVERSATION, id)
            .await
            .as_deref(),
        Some("message_not_found")
    );
    assert_eq!(
        store
            .add_reaction(EVA, SECOND_CONVERSATION, id, "❤")
            .await
            .unwrap(),
        ReactionOutcome::Rejected("message_not_found".into())
    );
    assert!(matches!(
        store
            .add_reaction(EVA, CONVERSATION, id, "❤")
            .await
            .unwrap(),
        ReactionOutcome::Added(_)
    ));
    assert_eq!(
        store
            .add_reaction(EVA, CONVERSATION, id, "❤")
            .await
            .unwrap(),
        ReactionOutcome::Rejected("duplicate".into())
    );
    assert_eq!(
        store
            .remove_reaction(EVA, SECOND_CONVERSATION, id, "❤")
            .await
            .unwrap()
            .as_deref(),
        Some("reaction_not_found")
    );
    assert_eq!(
        store
            .remove_reaction(EVA, CONVERSATION, id, "❤")
            .await
            .unwrap(),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn non_members_can_do_nothing() {
    let (_home, _client, store) = create_store().await;
    let id = send(&store, ANA, "hola", 1).await.0.id;
    assert_eq!(
        store.conversation(OUTSIDER, CONVERSATION).await.unwrap(),
        (true, None)
    );
    assert_eq!(
        store.conversation(OUTSIDER, Uuid::nil()).await.unwrap(),
        (false, None)
    );
    assert_eq!(
        refused_send(&store, OUTSIDER, CONVERSATION, &draft("x", 1)).await,
        "forbidden"
    );
    assert_eq!(
        refused_edit(&store, OUTSIDER, CONVERSATION, id, HOUR).await,
        "unauthorized"
    );
    assert_eq!(
        refused_edit(&store, EVA, CONVERSATION, id, HOUR).await,
        "forbidden"
    );
    assert_eq!(
        refused_delete(&store, EVA, CONVERSATION, id, HOUR).await,
        "forbidden"
    );
    assert_eq!(
        refused_receipt(&store, OUTSIDER, CONVERSATION, id)
            .await
            .as_deref(),
        Some("forbidden")
    );
    assert_eq!(
        store
            .add_reaction(OUTSIDER, CONVERSATION, id, "x")
            .await
            .unwrap(),
        ReactionOutcome::Rejected("forbidden".into())
    );
    assert_eq!(
        store
            .remove_reaction(OUTSIDER, CONVERSATION, id, "x")
            .await
            .unwrap()
            .as_deref(),
        Some("forbidden")
    );
    assert_eq!(
        store.mark_all_read(OUTSIDER, CONVERSATION).await.unwrap(),
        None
    );
    assert!(
        store.summaries(OUTSIDER).await.unwrap().is_empty()
            && store.undelivered(OUTSIDER, 50).await.unwrap().is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn inactive_members_and_conversations_have_no_access() {
    let (_home, client, store) = create_store().await;
    client
        .batch_execute(&format!(
            "UPDATE conversation_members SET is_active = false WHERE user_id = '{EVA}'"
        ))
        .await
        .unwrap();
    assert_eq!(
        store.conversation(EVA, CONVERSATION).await.unwrap(),
        (true, None),
        "a former member has no access"
    );
    client
        .batch_execute("UPDATE conversations SET is_active = false")
        .await
        .unwrap();
    assert_eq!(
        refused_send(&store, ANA, CONVERSATION, &draft("x", 1)).await,
        "forbidden"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn editing_and_deleting_have_time_limits() {
    let (_home, client, store) = create_store().await;
    let id = send(&store, ANA, "hola", 1).await.0.id;
    client
        .batch_execute("UPDATE messages SET sent_at = now() - interval '25 hours'")
        .await
        .unwrap();
    let (day, two) = (HOUR * 24, HOUR * 48);
    assert_eq!(
        refused_edit(&store, ANA, CONVERSATION, id, day).await,
        "message_not_editable"
    );
    let WriteOutcome::Applied { message, .. } = store
        .delete(ANA, CONVERSATION, id, true, two)
        .await
        .unwrap()
    else {
        panic!()
    };
    assert!(message.is_deleted && message.delete_for_everyone && message.content.is_empty());
    assert_eq!(
        refused_delete(&store, ANA, CONVERSATION, id, two).await,
        "message_not_deletable"
    );
    let late = send(&store, ANA, "otra", 2).await.0.id;
    client
        .batch_execute("UPDATE messages SET sent_at = now() - interval '49 hours'")
        .await
        .unwrap();
    assert_eq!(
        refused_delete(&store, ANA, CONVERSATION, late, two).await,
        "message_not_deletable"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_and_unread_messages_are_listed() {
    let (_home, _client, store) = create_store().await;
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(send(&store, ANA, &n.to_string(), n).await.0.id);
    }
    let contents = |messages: Vec<StoredMessage>| {
        messages
            .into_iter()
            .map(|m| String::from_utf8(m.content).unwrap())
            .collect::<String>()
    };
    assert_eq!(
        contents(store.undelivered(EVA, 3).await.unwrap()),
        "123",
        "the newest, oldest first"
    );
    assert_eq!(
        contents(store.undelivered(ANA, 9).await.unwrap()),
        "",
        "the user's own messages are not pending"
    );
    assert_eq!(
        store
            .record_receipt(EVA, CONVERSATION, ids[1], false)
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        store
            .record_receipt(EVA, CONVERSATION, ids[2], true)
            .await
            .unwrap(),
        None
    );
    assert_eq!(contents(store.undelivered(EVA, 9).await.unwrap()), "03");
    assert_eq!(contents(store.unread(EVA).await.unwrap()), "013");
    let summaries = store.summaries(EVA).await.unwrap();
    let first = &summaries[0];
    assert_eq!(
        (
            first.conversation.id,
            first.unread_count,
            first.member_count
        ),
        (CONVERSATION, 3, 2),
        "the active one first"
    );
    assert_eq!(
        first.last_message.as_ref().map(|last| last.id),
        Some(ids[3])
    );
    assert_eq!(
        store.messages(&[ids[2]]).await.unwrap()[0].delivery_status,
        "read"
    );
    assert_eq!(
        store.mark_all_read(EVA, CONVERSATION).await.unwrap(),
        Some(3)
    );
    assert_eq!(
        store.mark_all_read(EVA, CONVERSATION).await.unwrap(),
        Some(0)
    );
    assert!(store.unread(EVA).await.unwrap().is_empty());
}

/// Returns the kinds and numbers of the changes since the cursor.
async fn collect_changes(
    store: &MessagingDatabase,
    cursor: &mut ChangeCursor,
) -> Vec<(String, i64)> {
    let mut seen = Vec::new();
    loop {
        let batch = store.changes(cursor).await.unwrap();
        seen.extend(
            batch
                .changes
                .into_iter()
                .map(|change| (change.kind, change.id)),
        );
        *cursor = batch.cursor;
        if !batch.has_more {
            return seen;
        }
    }
}

async fn insert(client: &Client, conversation: Uuid, count: i32) {
    let sql = format!(
        "INSERT INTO messages (conversation_id, sender_id, content) SELECT '{conversation}', '{ANA}', 'x' FROM generate_series(1, {count})"
    );
    client.batch_execute(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_seen_once_with_overlapping_transactions() {
    let (home, late, store) = create_store().await;
    let early = home.client().await;
    let mut cursor = store.cursor().await.unwrap();
    late.batch_execute("BEGIN").await.unwrap();
    insert(&late, CONVERSATION, 2).await;
    insert(&early, SECOND_CONVERSATION, 1).await;
    let first = collect_changes(&store, &mut cursor).await;
    assert_eq!(first.len(), 1, "an uncommitted change is not visible");
    insert(&early, SECOND_CONVERSATION, 1200).await;
    assert_eq!(
        collect_changes(&store, &mut cursor).await.len(),
        1200,
        "changes come in pages"
    );
    assert_eq!(
        collect_changes(&store, &mut cursor).await,
        [],
        "each change is seen once"
    );
    late.batch_execute("COMMIT").await.unwrap();
    let last = collect_changes(&store, &mut cursor).await;
    assert_eq!(last.len(), 2);
    assert!(
        last.iter().all(|(_, id)| *id < first[0].1),
        "their numbers were assigned earlier"
    );
    assert_eq!(collect_changes(&store, &mut cursor).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_one_conversation_commit_in_number_order() {
    let (home, _client, store) = create_store().await;
    let mut cursor = store.cursor().await.unwrap();
    let writers = (0..6).map(|_| async {
        let client = home.client().await;
        for _ in 0..20 {
            insert(&client, CONVERSATION, 1).await;
        }
    });
    let all = futures_util::future::join_all(writers);
    let mut all = std::pin::pin!(all);
    let mut numbers = Vec::new();
    loop {
        let done = tokio::select! {
            _ = &mut all => true,
            () = tokio::time::sleep(Duration::from_millis(2)) => false,
        };
        numbers.extend(
            collect_changes(&store, &mut cursor)
                .await
                .into_iter()
                .map(|(_, id)| id),
        );
        if done {
            break;
        }
    }
    assert_eq!(numbers.len(), 120);
    assert!(
        numbers.is_sorted(),
        "reads during the writes give the same order"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_can_be_applied_again() {
    let (_home, client, store) = create_store().await;
    send(&store, ANA, "hola", 1).await;
    client
        .batch_execute(latido_postgres::apps::messaging::SCHEMA_SQL)
        .await
        .unwrap();
    assert!(!send(&store, ANA, "hola", 1).await.1);
    store.check_schema().await.unwrap();
}
