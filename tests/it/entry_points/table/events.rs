//! The events of open connections.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{GuardedServer, KINDS, literals_between};
use crate::entry_points::{CHANNEL, next_packet, open_socketio};
use crate::harness::{ADMIN_OF_B1, B1, OTHER_USER, TestApp, TestSocket, within};

/// The answer to an event of a client without the right to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// An error, or the end of the connection.
    Denied,
    /// An answer that starts so, and tells nothing about anybody else.
    Harmless(&'static str),
    /// No answer.
    Silent,
}

pub(super) use Expected::{Denied, Harmless, Silent};

/// The events of each protocol: for a client that is not identified, and for one of another tenant.
/// `None` stands for a client that gets no connection.
pub(super) type Row = (&'static str, Option<Expected>, Expected);

const NATIVE: &[Row] = &[
    ("subscribe", Some(Denied), Denied),
    (
        "unsubscribe",
        Some(Denied),
        Harmless(r#"{"type":"unsubscribed","data":{"channel":"#),
    ),
    ("ping", Some(Harmless(PONG)), Harmless(PONG)),
    ("auth", Some(Denied), Denied),
];

/// The frames of `workspace`, for a client without a token and for one of another workspace.
const WORKSPACE: &[Row] = &[
    ("auth", Some(Denied), Denied),
    ("subscribe", Some(Denied), Denied),
    (
        "unsubscribe",
        Some(Denied),
        Harmless(r#"{"type":"unsubscribed","data":{"channel":"#),
    ),
    ("ping", Some(Harmless(PONG)), Harmless(PONG)),
];

const PONG: &str = r#"{"type":"pong"}"#;

pub(super) const PHOENIX: &[Row] = &[
    ("phx_join", None, Denied),
    ("phx_leave", None, Harmless("")),
    ("heartbeat", None, Harmless("")),
    ("send_message", None, Denied),
    ("new_message", None, Denied),
    ("typing_start", None, Denied),
    ("typing_stop", None, Denied),
    ("user_typing", None, Denied),
    ("mark_as_read", None, Denied),
    ("message_read", None, Denied),
    ("mark_read", None, Denied),
    ("message_delivered", None, Denied),
    ("add_reaction", None, Denied),
    ("remove_reaction", None, Denied),
    ("edit_message", None, Denied),
    ("delete_message", None, Denied),
    ("ping", None, Denied),
    ("update_status", None, Denied),
    ("update_presence", None, Denied),
    ("mark_all_read", None, Denied),
    ("mark_conversation_read", None, Denied),
    ("get_unread_messages", None, Denied),
    ("get_conversations", None, Denied),
];

const NO_MODULES: &str = r#"42["#;

const PAGES: &[Row] = &[
    ("client:authenticate", Some(Denied), Denied),
    ("client:page:changed", Some(Denied), Harmless(NO_MODULES)),
    ("register_page", Some(Denied), Silent),
    ("client:sync:request", Some(Denied), Harmless(NO_MODULES)),
    ("request_stats", Some(Denied), Harmless(NO_MODULES)),
    ("request_module_states", Some(Denied), Harmless(NO_MODULES)),
    ("request_state_sync", Some(Denied), Harmless(NO_MODULES)),
    ("send_module_command", Some(Denied), Denied),
    ("module_command", Some(Denied), Denied),
    ("module_claim", Some(Denied), Denied),
];

/// Devices prove who they are by their password, and a token is none. A page that is identified has
/// no events of devices.
const DEVICES: &[Row] = &[
    ("module_identify", Some(Denied), Denied),
    ("telemetry", Some(Denied), Denied),
    ("heartbeat", Some(Denied), Denied),
    ("command_response", Some(Denied), Denied),
    ("module_telemetry", Some(Denied), Denied),
    ("status_response", Some(Denied), Denied),
    ("reset_response", Some(Denied), Denied),
    // The names of older firmware. Any other one with this prefix is a device's too.
    ("esp_register", Some(Denied), Denied),
    ("esp_telemetry", Some(Denied), Denied),
    ("esp_heartbeat", Some(Denied), Denied),
    ("esp_ack", Some(Denied), Denied),
    ("esp_", Some(Denied), Denied),
];

/// The types of frames on `/esp32`. The empty one stands for all others.
const DEVICE_FRAMES: &[Row] = &[
    ("module_identify", Some(Denied), Denied),
    ("telemetry", Some(Denied), Denied),
    ("status_response", Some(Denied), Denied),
    ("heartbeat", Some(Denied), Denied),
    ("pong", Some(Denied), Denied),
    ("command_response", Some(Denied), Denied),
    ("reset_response", Some(Denied), Denied),
    ("command_error", Some(Denied), Denied),
    ("", Some(Denied), Denied),
];

const GATEWAY: &[Row] = &[
    ("authenticate", Some(Denied), Denied),
    ("join_room", Some(Denied), Denied),
    ("leave_room", Some(Denied), Denied),
    (
        "ping",
        Some(Harmless(r#"42["pong""#)),
        Harmless(r#"42["pong""#),
    ),
    (
        "get_dashboard_summary",
        Some(Denied),
        Harmless(r#"42["dashboard_summary""#),
    ),
    (
        "get_recent_events",
        Some(Denied),
        Harmless(r#"42["recent_events""#),
    ),
    ("reservation_created", Some(Denied), Denied),
    ("reservation_accepted", Some(Denied), Denied),
    ("payment_created", Some(Denied), Denied),
    ("comment_created", Some(Denied), Denied),
];

/// Returns whether an answer is an error or the end of the connection.
pub(super) fn is_denial(answer: &str) -> bool {
    let is_open = answer.starts_with(['{', '[', '4']) && answer != "41";
    !is_open
        || ["error", "Unauthorized", "forbidden"]
            .iter()
            .any(|word| answer.contains(word))
}

fn assert_answer(what: &str, answer: &str, expected: Expected) {
    match expected {
        Denied => assert!(is_denial(answer), "{what}: {answer}"),
        Harmless(start) => assert!(
            answer.starts_with(start) && !is_denial(answer),
            "{what}: {answer}"
        ),
        Silent => panic!("{what}: an answer to an event without one: {answer}"),
    }
}

pub(super) fn names(rows: &[Row]) -> BTreeSet<String> {
    rows.iter().map(|(name, _, _)| (*name).to_owned()).collect()
}

/// Returns the texts that a file matches, as in `"ping" =>`, between two others.
fn match_arms(file: &str, start: &str, end: &str) -> BTreeSet<String> {
    super::code_between(file, start, end)
        .lines()
        .filter(|line| line.contains("=>"))
        .map(|line| line.split("=>").next().unwrap().trim_start())
        .map(|pattern| pattern.strip_prefix("Some(").unwrap_or(pattern))
        .filter(|pattern| pattern.starts_with('"'))
        .flat_map(super::literals)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_event_in_the_code_has_a_row() {
    let between = literals_between;
    let native = "internal/protocol/src/native.rs";
    assert_eq!(match_arms(native, "", ""), names(NATIVE));
    let workspace = "internal/apps/workspace/src/wire.rs";
    let frames = match_arms(workspace, "fn decode", "\n}");
    assert_eq!(frames, names(WORKSPACE));
    let modules = "internal/apps/modules/src";
    let pages = format!("{modules}/client_request.rs");
    assert_eq!(between(&pages, "fn is_client_event", "\n}"), names(PAGES));
    let sockets = format!("{modules}/client_socket.rs");
    let mut devices = between(&sockets, "fn is_device_event", "\n}");
    let frames = format!("{modules}/device/frame.rs");
    devices.extend(match_arms(&frames, "fn parse_event", "\n}"));
    assert_eq!(devices, names(DEVICES));
    let mut types = match_arms(&frames, "fn parse_report", "\n}");
    types.insert(String::new());
    assert_eq!(types, names(DEVICE_FRAMES));
    let gateway = "internal/apps/gateway/src";
    let mut events = between(
        &format!("{gateway}/socket.rs"),
        "const CONTROL_EVENTS",
        "];",
    );
    events.extend(between(
        &format!("{gateway}/event_types.rs"),
        "const CLIENT_PUBLISHABLE",
        "];",
    ));
    assert_eq!(events, names(GATEWAY));
    let pushes = "internal/apps/messaging/src/channels/parse_push.rs";
    let mut pushes = match_arms(pushes, "", "");
    pushes.extend(["phx_join", "phx_leave", "heartbeat"].map(str::to_owned));
    assert_eq!(pushes, names(PHOENIX));
}

async fn connect(app: &TestApp, path: &str, token: Option<&String>) -> Option<TestSocket> {
    let token = token.map(|token| format!("token={token}"));
    let url = format!("ws://{}{path}{}", app.address(), token.unwrap_or_default());
    let connecting = async {
        loop {
            match TestSocket::try_connect(&url, &[]).await {
                Ok(socket) => return Some(socket),
                Err(503) => tokio::task::yield_now().await,
                Err(_) => return None,
            }
        }
    };
    within(connecting).await
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_the_native_protocol_are_denied() {
    let server = GuardedServer::start().await;
    for (kind, token) in KINDS.iter().zip(&server.tokens) {
        for (event, anonymous, foreign) in NATIVE {
            let Some(mut socket) = connect(&server.app, "/ws?", token.as_ref()).await else {
                continue;
            };
            // A token of somebody else, and a workspace of somebody else.
            let data = json!({"channel": CHANNEL, "token": server.app.token(ADMIN_OF_B1)});
            let message = json!({"type": event, "data": data, "channel": CHANNEL});
            socket.send(&message).await;
            let answer = socket.next_text().await;
            let expected = if token.is_some() {
                Some(*foreign)
            } else {
                *anonymous
            };
            let what = format!("{event} with {kind} credential");
            // A client of `workspace` without a token may still present one in band.
            if *event == "auth" && token.is_none() {
                continue;
            }
            assert_answer(&what, &answer, expected.unwrap());
        }
    }
    let foreign = server.tokens[2].as_ref();
    let mut socket = connect(&server.app, "/ws?", foreign).await.unwrap();
    let token = foreign.unwrap();
    let auth = json!({"type": "auth", "workspace_id": 1, "token": token});
    socket.send(&auth).await;
    let answer = socket.next_text().await;
    assert_answer("auth for another workspace", &answer, Denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_workspace_are_denied() {
    let server = GuardedServer::start().await;
    // A token in a frame instead of the address: of another workspace, wrong, expired or revoked.
    for (kind, token) in KINDS.iter().zip(&server.tokens) {
        for (event, expected, _) in WORKSPACE {
            let mut socket = connect(&server.app, "/ws?", None).await.unwrap();
            let message = json!({
                "type": event, "workspace_id": 1, "user_id": 7, "token": token, "channel": CHANNEL
            });
            socket.send(&message).await;
            let answer = socket.next_text().await;
            let what = format!("{event} with {kind} credential");
            assert_answer(&what, &answer, expected.unwrap());
        }
    }
    // A member of another workspace, which the connection proves in a frame.
    let auth = json!({
        "type": "auth", "workspace_id": 2, "user_id": OTHER_USER, "token": server.tokens[2]
    });
    for (event, _, foreign) in WORKSPACE {
        let mut socket = connect(&server.app, "/ws?", None).await.unwrap();
        socket.send(&auth).await;
        assert_eq!(socket.next().await["type"], "auth_success");
        let message = json!({
            "type": event, "workspace_id": 1, "token": server.tokens[2],
            "data": {"channel": CHANNEL}, "channel": CHANNEL
        });
        socket.send(&message).await;
        let answer = socket.next_text().await;
        assert_answer(&format!("{event} as another member"), &answer, *foreign);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_messaging_are_denied() {
    let server = GuardedServer::start().await;
    let conversation = "conversation:cccc0000-0000-4000-8000-000000000001";
    let topics = [conversation.to_owned(), format!("user:{ADMIN_OF_B1}")];
    let path = "/socket/websocket?vsn=2.0.0&";
    for topic in topics {
        for (event, _, foreign) in PHOENIX {
            let token = server.tokens[2].as_ref();
            let mut socket = connect(&server.app, path, token).await.unwrap();
            let topic = if *event == "heartbeat" {
                "phoenix"
            } else {
                &topic
            };
            let id = "dddd0000-0000-4000-8000-000000000001";
            let payload = json!({"message_id": id, "content": "x", "reaction": "x"});
            socket.send(&json!(["1", "2", topic, event, payload])).await;
            let answer = socket.next_text().await;
            assert_answer(&format!("{event} on {topic}"), &answer, *foreign);
        }
    }
}

/// Sends an event and returns the first answer that is no part of opening the connection.
async fn ask(socket: &mut TestSocket, event: &str, payload: &Value) -> String {
    socket
        .send_raw(format!("42{}", json!([event, payload])).into())
        .await;
    loop {
        let text = socket.next_text().await;
        let is_greeting = text == "2" || text.starts_with("40");
        if !is_greeting {
            return text;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_modules_are_denied() {
    let server = GuardedServer::start().await;
    let db = server.app.connect_database().await;
    db.batch_execute(
        "INSERT INTO users (id, name) VALUES (7, 'Ana');
         INSERT INTO modules (module_id, name, module_code, user_id, claimed) VALUES ('M1', 'Loop', 'c1', 7, true)",
    )
    .await
    .unwrap();
    let payload = json!({
        "moduleId": "M1", "command": "start", "code": "c2", "page": "modules", "userId": "7",
        "password": "wrong"
    });
    for (kind, token) in KINDS.iter().zip(&server.tokens) {
        let is_foreign = *kind == "another tenant's";
        for (event, anonymous, foreign) in PAGES.iter().chain(DEVICES) {
            let mut socket = open_socketio(&server.app).await;
            let auth = token.as_ref().map(|token| json!({"token": token}));
            let auth = auth.map(|auth| auth.to_string()).unwrap_or_default();
            socket.send_raw(format!("40{auth}").into()).await;
            next_packet(&mut socket, "40").await;
            let expected = if is_foreign {
                *foreign
            } else {
                anonymous.unwrap()
            };
            let what = format!("{event} with {kind} credential");
            if expected == Silent {
                // The answer to the next event comes first.
                let silent = json!([event, payload]);
                socket.send_raw(format!("42{silent}").into()).await;
                let next = ask(&mut socket, "request_stats", &payload).await;
                assert!(
                    next.starts_with(r#"42["simple_stats_update""#),
                    "{what}: {next}"
                );
                continue;
            }
            let answer = ask(&mut socket, event, &payload).await;
            assert_answer(&what, &answer, expected);
            assert!(
                !answer.contains("M1") || is_denial(&answer),
                "{what}: {answer}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_the_gateway_are_denied() {
    let server = GuardedServer::start().await;
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket",
        server.app.app_address("gateway")
    );
    // The API knows one client, whose id is 1.
    let payload = json!({
        "token": "t", "userId": 2, "role": "cliente", "room": "admin", "clienteId": 2,
        "negocio": B1
    });
    for is_identified in [false, true] {
        for (event, anonymous, foreign) in GATEWAY {
            let mut socket = TestSocket::try_connect(&url, &[]).await.unwrap();
            socket.send_raw("40".into()).await;
            next_packet(&mut socket, "40").await;
            if is_identified {
                let own = json!({"token": "t", "userId": 1, "role": "cliente"});
                let answer = ask(&mut socket, "authenticate", &own).await;
                assert!(answer.starts_with(r#"42["auth_success""#), "{answer}");
            }
            let answer = ask(&mut socket, event, &payload).await;
            let expected = if is_identified {
                Some(*foreign)
            } else {
                *anonymous
            };
            let what = format!("{event}, identified: {is_identified}");
            assert_answer(&what, &answer, expected.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_devices_without_a_password_are_denied() {
    let server = GuardedServer::start().await;
    for (kind, token) in KINDS.iter().zip(&server.tokens) {
        for (event, _, _) in DEVICE_FRAMES {
            let mut socket = connect(&server.app, "/esp32?", token.as_ref())
                .await
                .unwrap();
            socket.send(&json!({"type": event, "moduleId": "M1"})).await;
            let answer = socket.next_text().await;
            assert_answer(&format!("{event} with {kind} credential"), &answer, Denied);
        }
    }
}
