//! The messaging app over Phoenix Channels.

mod channels;
mod forgery;
mod limits;
mod long_poll;
mod notifications;
mod store;
mod vocabulary;

use std::collections::VecDeque;

use latido_app_messaging::{MessagingDatabase, SCHEMA};
use latido_postgres::{Config, Database};
use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::harness::claims;
use crate::harness::cluster::TestDatabase;
use crate::harness::{TestApp, TestSocket, within};

pub(super) const ANA: Uuid = Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0001);
pub(super) const EVA: Uuid = Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0002);
/// A user who belongs to no conversation.
const OUTSIDER: Uuid = Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0003);
pub(super) const CONVERSATION: Uuid = Uuid::from_u128(0xcccc_0000_0000_4000_8000_0000_0000_0001);
const SECOND_CONVERSATION: Uuid = Uuid::from_u128(0xcccc_0000_0000_4000_8000_0000_0000_0002);

/// Inserts two conversations between Ana and Eva.
pub(super) async fn insert_conversations(client: &Client) {
    for conversation in [CONVERSATION, SECOND_CONVERSATION] {
        let members = [ANA, EVA]
            .map(|user| format!("('{conversation}', '{user}')"))
            .join(",");
        let sql = format!(
            "INSERT INTO conversations (id, type) VALUES ('{conversation}', 'direct');
             INSERT INTO conversation_members (conversation_id, user_id) VALUES {members}"
        );
        client.batch_execute(&sql).await.unwrap();
    }
}

/// Creates a database with the schema and the two conversations, and opens its store.
async fn create_store() -> (TestDatabase, Client, MessagingDatabase) {
    let home = TestDatabase::create(&[]).await;
    let client = home.client().await;
    client.batch_execute(SCHEMA.install_sql).await.unwrap();
    insert_conversations(&client).await;
    let database = Database::open(&Config::new(home.url())).unwrap();
    let messages = MessagingDatabase::new(database.writer(8).unwrap());
    (home, client, messages)
}

/// Starts a server with the messaging app on a filled database.
async fn start_server(variables: &[(&str, &str)]) -> (TestApp, Client) {
    let mut all = vec![("LATIDO_APPS", "messaging")];
    all.extend_from_slice(variables);
    let app = TestApp::with_settings(&all, |_| {}).await;
    let client = app.connect_database().await;
    insert_conversations(&client).await;
    (app, client)
}

/// A minimal Phoenix client that only knows the frame format.
struct PhoenixTestClient {
    socket: TestSocket,
    user: Uuid,
    reference: u32,
    /// The frames that came before the reply to a push: an event may overtake it.
    overtaken: VecDeque<Value>,
}

impl PhoenixTestClient {
    /// Connects where clients of the newest API do, without joining a channel.
    async fn connect(app: &TestApp, user: Uuid) -> Self {
        Self::connect_at(app, "/messaging/socket", user).await
    }

    async fn connect_at(app: &TestApp, path: &str, user: Uuid) -> Self {
        let token = token(app, user);
        let url = format!(
            "ws://{}{path}/websocket?vsn=2.0.0&token={token}",
            app.address()
        );
        // The server answers 503 until the change feed knows its start position.
        let connecting = async {
            loop {
                match TestSocket::try_connect(&url, &[]).await {
                    Ok(socket) => break socket,
                    Err(status) => assert_eq!(status, 503),
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        Self {
            socket: within(connecting).await,
            user,
            reference: 0,
            overtaken: VecDeque::new(),
        }
    }

    /// Connects and joins the user's channel and the first conversation.
    async fn connect_and_join(app: &TestApp, user: Uuid) -> Self {
        let mut device = Self::connect(app, user).await;
        device.join_all().await;
        device
    }

    async fn join_all(&mut self) {
        self.join(&format!("user:{}", self.user)).await;
        self.wait_for_event("sync_complete").await;
        self.join(&channel(CONVERSATION)).await;
    }

    async fn join(&mut self, topic: &str) -> Value {
        self.socket
            .send(&json!(["1", "1", topic, "phx_join", {}]))
            .await;
        self.wait_for_event("phx_reply").await
    }

    /// Pushes an event on the first conversation and returns the reply.
    async fn push(&mut self, event: &str, payload: &Value) -> Value {
        self.push_to(&channel(CONVERSATION), event, payload).await
    }

    async fn push_to(&mut self, topic: &str, event: &str, payload: &Value) -> Value {
        self.reference += 1;
        let reference = format!("p{}", self.reference);
        self.socket
            .send(&json!(["1", reference, topic, event, payload]))
            .await;
        loop {
            let frame = self.socket.next().await;
            if frame[1] == reference.as_str() {
                return frame[4].clone();
            }
            self.overtaken.push_back(frame);
        }
    }

    /// Returns the next frame that no earlier call has returned.
    async fn next_frame(&mut self) -> Value {
        match self.overtaken.pop_front() {
            Some(frame) => frame,
            None => self.socket.next().await,
        }
    }

    /// Returns the payload of the next event of that name and skips other events.
    async fn wait_for_event(&mut self, event: &str) -> Value {
        loop {
            let frame = self.next_frame().await;
            if frame[3] == event {
                return frame[4].clone();
            }
        }
    }

    /// Returns the contents of the messages on the first conversation's channel, up to and
    /// including `last`.
    async fn message_contents_until(&mut self, last: &str) -> Vec<String> {
        let mut contents = Vec::new();
        loop {
            let frame = self.next_frame().await;
            if frame[3] == "new_message" && frame[2] == channel(CONVERSATION).as_str() {
                contents.push(frame[4]["message"]["content"].as_str().unwrap().to_owned());
                if contents.last().is_some_and(|content| content == last) {
                    return contents;
                }
            }
        }
    }

    async fn send(&mut self, content: &str, client_random: i32) -> Value {
        self.push("new_message", &message(content, client_random))
            .await
    }
}

/// Returns the token of a user's device.
fn token(app: &TestApp, user: Uuid) -> String {
    let now = claims::now();
    app.sign(&json!({"sub": user, "device_id": "d", "iat": now, "exp": now + 3600}))
}

fn channel(conversation: Uuid) -> String {
    format!("conversation:{conversation}")
}

fn message(content: &str, client_random: i32) -> Value {
    json!({"message_type": "text", "content": content, "client_random": client_random})
}
