//! The pushes of `messaging` by a member of one conversation, about a message of another.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio_postgres::Client;

use super::GuardedServer;
use super::events::{Denied, Expected, Harmless, PHOENIX, Silent, is_denial, names};
use crate::harness::{ADMIN_OF_B1, OTHER_USER, TestSocket, within};

const OWN: &str = "cccc0000-0000-4000-8000-000000000001";
const FOREIGN: &str = "cccc0000-0000-4000-8000-000000000002";
const MESSAGE: &str = "dddd0000-0000-4000-8000-000000000001";
/// The content of the foreign message.
const CONTENT: &str = "not for everybody";

/// The topic of a push.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Channel {
    Phoenix,
    User,
    Conversation,
}

/// The answer to each push. A harmless one begins so, and tells nothing of the foreign conversation.
const PUSHES: &[(&str, Channel, Expected)] = &[
    ("phx_join", Channel::Conversation, Harmless(OK)),
    ("phx_leave", Channel::Conversation, Harmless(OK)),
    ("heartbeat", Channel::Phoenix, Harmless(OK)),
    // These are new messages in the own conversation.
    ("send_message", Channel::Conversation, Harmless("{")),
    ("new_message", Channel::Conversation, Harmless("{")),
    ("typing_start", Channel::Conversation, Silent),
    ("typing_stop", Channel::Conversation, Silent),
    ("user_typing", Channel::Conversation, Silent),
    ("mark_as_read", Channel::Conversation, Denied),
    ("message_read", Channel::Conversation, Denied),
    ("mark_read", Channel::Conversation, Denied),
    ("message_delivered", Channel::Conversation, Denied),
    ("add_reaction", Channel::Conversation, Denied),
    ("remove_reaction", Channel::Conversation, Denied),
    ("edit_message", Channel::Conversation, Denied),
    ("delete_message", Channel::Conversation, Denied),
    ("ping", Channel::User, Harmless(OK)),
    ("update_status", Channel::User, Harmless(OK)),
    ("update_presence", Channel::User, Silent),
    ("mark_all_read", Channel::User, Denied),
    ("mark_conversation_read", Channel::User, Denied),
    ("get_unread_messages", Channel::User, Harmless(OK)),
    ("get_conversations", Channel::User, Harmless(OK)),
];

const OK: &str = r#"{"status":"ok""#;

async fn insert_messages(db: &Client) {
    let members = [(OWN, OTHER_USER), (FOREIGN, ADMIN_OF_B1)]
        .map(|(conversation, user)| format!("('{conversation}', '{user}')"))
        .join(",");
    let sql = format!(
        "INSERT INTO conversations (id) VALUES ('{OWN}'), ('{FOREIGN}');
         INSERT INTO conversation_members (conversation_id, user_id) VALUES {members};
         INSERT INTO messages (id, conversation_id, sender_id, content)
           VALUES ('{MESSAGE}', '{FOREIGN}', '{ADMIN_OF_B1}', convert_to('{CONTENT}', 'UTF8'))"
    );
    db.batch_execute(&sql).await.unwrap();
}

/// Returns everything that is stored about the foreign conversation.
async fn foreign_state(db: &Client) -> String {
    let sql = format!(
        "SELECT concat(
           (SELECT json_agg(m) FROM messages m WHERE conversation_id = '{FOREIGN}'),
           (SELECT json_agg(m) FROM conversation_members m WHERE conversation_id = '{FOREIGN}'),
           (SELECT json_agg(d) FROM delivery_statuses d WHERE message_id = '{MESSAGE}'),
           (SELECT json_agg(r) FROM message_reactions r WHERE message_id = '{MESSAGE}'))"
    );
    db.query_one(&sql, &[]).await.unwrap().get(0)
}

/// Joins a channel, and returns after the events that this causes.
async fn join(socket: &mut TestSocket, topic: &str) {
    socket.send(&json!(["1", "j", topic, "phx_join", {}])).await;
    let answer = reply(socket, "j").await;
    assert_eq!(answer["status"], "ok", "{answer}");
}

/// Returns the payload of the reply to a push.
async fn reply(socket: &mut TestSocket, reference: &str) -> Value {
    loop {
        let frame = socket.next().await;
        assert!(!frame.to_string().contains(CONTENT), "{frame}");
        if frame[1] == reference && frame[3] == "phx_reply" {
            return frame[4].clone();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn member_has_no_power_over_another_conversation() {
    let rows: BTreeSet<_> = PUSHES.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(rows, names(PHOENIX));
    let server = GuardedServer::start().await;
    let db = server.app.connect_database().await;
    insert_messages(&db).await;
    let before = foreign_state(&db).await;
    let token = server.tokens[2].as_ref().unwrap();
    let url = format!(
        "ws://{}/socket/websocket?vsn=2.0.0&token={token}",
        server.app.address()
    );
    let (user, conversation) = (format!("user:{OTHER_USER}"), format!("conversation:{OWN}"));
    for (event, channel, expected) in PUSHES {
        let opening = async {
            loop {
                match TestSocket::try_connect(&url, &[]).await {
                    Ok(socket) => return socket,
                    Err(status) => assert_eq!(status, 503, "the app becomes ready"),
                }
            }
        };
        let mut socket = within(opening).await;
        join(&mut socket, &user).await;
        join(&mut socket, &conversation).await;
        let topic = match channel {
            Channel::Phoenix => "phoenix",
            Channel::User => &user,
            Channel::Conversation => &conversation,
        };
        let payload = json!({
            "message_id": MESSAGE, "reply_to_id": MESSAGE, "conversation_id": FOREIGN,
            "conversation_ids": [FOREIGN], "content": "x", "reaction": "x", "status": "away",
            "client_random": 1, "delete_for_everyone": true
        });
        socket.send(&json!(["1", "p", topic, event, payload])).await;
        if *expected == Silent {
            // The reply to the next push comes first.
            socket.send(&json!(["1", "n", user, "ping", {}])).await;
            assert_eq!(reply(&mut socket, "n").await["status"], "ok", "{event}");
            continue;
        }
        let answer = reply(&mut socket, "p").await.to_string();
        match expected {
            Harmless(start) => assert!(
                answer.starts_with(start) && !answer.contains(FOREIGN),
                "{event}: {answer}"
            ),
            _ => assert!(is_denial(&answer), "{event}: {answer}"),
        }
    }
    assert_eq!(foreign_state(&db).await, before);
}
