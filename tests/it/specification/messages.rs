//! Compares the WebSocket messages with the document: every variant, code and close reason of the
//! code, and the frames of a real socket.

use std::collections::BTreeSet;

use latido_protocol::{ClientCommand, ErrorCode, ServerReply, native};
use latido_session::CloseReason;
use serde_json::{Value, json};

use super::{ApiDocument, base_document, strings};
use crate::harness::{ADMIN_OF_B1, B1, B2, OTHER_USER, SYSTEM_ADMIN, TestApp, claims};

/// Returns the document's message for a command. A new variant does not compile here until the
/// document has it.
fn command_message(command: &ClientCommand) -> &'static str {
    match command {
        ClientCommand::Subscribe { .. } => "subscribe",
        ClientCommand::Unsubscribe { .. } => "unsubscribe",
        ClientCommand::Ping => "ping",
        ClientCommand::Auth { .. } => "auth",
    }
}

/// Returns the document's message for a reply.
fn reply_message(reply: &ServerReply) -> &'static str {
    match reply {
        ServerReply::Subscribed(_) => "subscribed",
        ServerReply::Unsubscribed(_) => "unsubscribed",
        ServerReply::Pong => "pong",
        ServerReply::Authenticated { .. } => "authenticated",
        ServerReply::TokenExpiring { .. } => "token_expiring",
        ServerReply::Error { .. } => "error",
    }
}

fn all_replies() -> Vec<ServerReply> {
    let errors = ErrorCode::ALL
        .into_iter()
        .zip([None, Some("a:b".to_owned())].into_iter().cycle());
    let errors = errors.map(|(code, channel)| ServerReply::Error {
        code,
        message: "no".into(),
        channel,
    });
    let others = [
        ServerReply::Subscribed("estadisticas:1".into()),
        ServerReply::Unsubscribed("estadisticas:1".into()),
        ServerReply::Pong,
        ServerReply::Authenticated { expires_at: 5 },
        ServerReply::TokenExpiring { at: 5 },
    ];
    errors.chain(others).collect()
}

/// Returns the names of the messages that the server receives or sends.
fn message_names<'a>(document: &'a Value, action: &str) -> BTreeSet<&'a str> {
    let operations = document["operations"]
        .as_object()
        .expect("operations")
        .values();
    let mut lists = Vec::new();
    for operation in operations {
        // A message that is sent as a reply is listed with its request.
        let answers = &operation["reply"]["messages"];
        lists.extend((operation["action"] == action).then_some(&operation["messages"]));
        lists.extend((action == "send" && !answers.is_null()).then_some(answers));
    }
    let names = lists
        .into_iter()
        .flat_map(|list| list.as_array().expect("messages"));
    names
        .map(|name| {
            name["$ref"]
                .as_str()
                .expect("a reference")
                .rsplit_once('/')
                .expect("a name")
                .1
        })
        .collect()
}

#[test]
fn every_command_is_documented_and_vice_versa() {
    let document = ApiDocument(base_document("asyncapi.json"));
    let mut seen = BTreeSet::new();
    for name in message_names(&document.0, "receive") {
        let message = &document.0["components"]["messages"][name];
        for example in message["examples"].as_array().expect("examples") {
            let command = native::decode(&example["payload"].to_string())
                .expect("the server understands the example");
            assert_eq!(command_message(&command), name);
            seen.insert(name);
        }
    }
    // The match in `command_message` lists all commands.
    assert_eq!(
        seen,
        BTreeSet::from(["subscribe", "unsubscribe", "ping", "auth"])
    );
    for (name, wrong) in [
        ("subscribe", json!({"type": "subscribe"})),
        ("subscribe", json!({"type": "subscribe", "channel": 7})),
        (
            "subscribe",
            json!({"type": "subscribe", "channel": "a:1", "history": 1}),
        ),
        (
            "unsubscribe",
            json!({"type": "unsubscribe", "data": {"channel": null}}),
        ),
        ("auth", json!({"type": "auth", "data": {}})),
        ("ping", json!({"type": 1})),
    ] {
        assert!(native::decode(&wrong.to_string()).is_err(), "{wrong}");
        assert!(
            document
                .mismatch(
                    &document.0["components"]["messages"][name]["payload"],
                    &wrong
                )
                .is_some(),
            "{wrong}"
        );
    }
}

#[test]
fn every_reply_is_documented_and_vice_versa() {
    let document = ApiDocument(base_document("asyncapi.json"));
    let mut seen = BTreeSet::from(["snapshot", "status", "server.state", "server.clients"]);
    let history =
        |is_truncated| native::encode_history("estadisticas:1", r#"{"n":1}"#, is_truncated);
    let refused = native::encode_history_error("estadisticas:1", ErrorCode::NoHistory, "no");
    for frame in [history(false), history(true), refused] {
        let frame = serde_json::from_str(frame.payload()).expect("JSON");
        let message = &document.0["components"]["messages"]["history"];
        document.check("history", &message["payload"], &frame);
        seen.insert("history");
    }
    for reply in all_replies() {
        let name = reply_message(&reply);
        let frame = serde_json::from_str(&native::encode_reply(&reply)).expect("JSON");
        document.check(
            name,
            &document.0["components"]["messages"][name]["payload"],
            &frame,
        );
        seen.insert(name);
    }
    assert_eq!(seen, message_names(&document.0, "send"));
    let all: BTreeSet<_> = document.0["components"]["messages"]
        .as_object()
        .expect("messages")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(all, &seen | &message_names(&document.0, "receive"));
}

#[test]
fn every_error_code_and_close_reason_is_documented_and_vice_versa() {
    let document = base_document("asyncapi.json");
    let codes: BTreeSet<_> = ErrorCode::ALL.into_iter().map(ErrorCode::as_str).collect();
    let schema = &document["components"]["schemas"]["ErrorCode"];
    assert_eq!(codes, strings(&schema["enum"]).into_iter().collect());
    let explained = |code: &str| {
        schema["description"]
            .as_str()
            .unwrap()
            .contains(&format!("- `{code}`: "))
    };
    assert!(
        codes.iter().all(|code| explained(code)),
        "every code has a meaning"
    );

    let reasons: BTreeSet<_> = CloseReason::ALL
        .into_iter()
        .map(|reason| (reason.code().into(), reason.text()))
        .collect();
    let listed = document["channels"]["socket"]["x-close-codes"]
        .as_array()
        .expect("close codes");
    let of = |entry: &'static str| {
        move |close: &Value| close[entry].as_str().is_some_and(|text| !text.is_empty())
    };
    assert!(listed.iter().all(of("meaning")) && listed.iter().all(of("comeBack")));
    let documented = listed
        .iter()
        .map(|close| {
            (
                close["code"].as_u64().unwrap(),
                close["text"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(reasons, documented);
}

/// Returns the only message of the document that matches a frame.
fn matching_message(document: &ApiDocument, frame: &Value) -> String {
    let messages = document.0["components"]["messages"]
        .as_object()
        .expect("messages");
    let sent = message_names(&document.0, "send");
    let is = |message: &Value| document.mismatch(&message["payload"], frame).is_none();
    let fitting: Vec<_> = messages
        .iter()
        .filter(|(name, message)| sent.contains(name.as_str()) && is(message))
        .collect();
    let [(name, _)] = fitting[..] else {
        panic!("{frame} is {} messages", fitting.len())
    };
    name.clone()
}

/// Asserts that the document names three places for the token, and no other.
fn assert_token_places(document: &ApiDocument) {
    let schemes = document.0["components"]["securitySchemes"]
        .as_object()
        .expect("schemes")
        .keys()
        .collect::<Vec<_>>();
    assert_eq!(schemes, ["bearer", "query", "subprotocol"]);
    assert_eq!(
        strings_of_refs(&document.0["servers"]["self"]["security"]),
        ["bearer", "query", "subprotocol"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_messages_match_the_document() {
    let app = TestApp::start().await;
    let document = ApiDocument::fetch(&app, "/asyncapi.json").await;
    document.check_consistency();
    let token = app.sign(&json!({"id": OTHER_USER, "negocio_id": B1, "exp": claims::now() + 30}));
    let renewed =
        app.sign(&json!({"id": OTHER_USER, "negocio_id": B1, "exp": claims::now() + 600}));
    let mut socket = app.connect_socket(&token).await;
    assert_eq!(
        matching_message(&document, &socket.next().await),
        "token_expiring"
    );
    let channel = format!("estadisticas:{B1}");
    for (asked, message, answers) in [
        (
            "subscribe",
            json!({"type": "subscribe", "channel": &channel}),
            &["subscribed", "snapshot.estadisticas"][..],
        ),
        (
            "subscribe",
            json!({"type": "subscribe", "data": {"channel": &channel}}),
            &["subscribed", "snapshot.estadisticas"],
        ),
        (
            "subscribe",
            json!({"type": "subscribe", "data": {"channel": format!("estadisticas:{B2}")}}),
            &["error"],
        ),
        ("ping", json!({"type": "ping"}), &["pong"]),
        (
            "auth",
            json!({"type": "auth", "data": {"token": renewed}}),
            &["authenticated"],
        ),
        (
            "auth",
            json!({"type": "auth", "data": {"token": "x"}}),
            &["error"],
        ),
        (
            "unsubscribe",
            json!({"type": "unsubscribe", "data": {"channel": &channel}}),
            &["unsubscribed"],
        ),
    ] {
        document.check(
            asked,
            &document.0["components"]["messages"][asked]["payload"],
            &message,
        );
        socket.send(&message).await;
        for answer in answers {
            assert_eq!(
                matching_message(&document, &socket.next().await),
                *answer,
                "{message}"
            );
        }
    }
    assert_token_places(&document);
    let user = app.token(ADMIN_OF_B1);
    assert!(app.connect_socket(&user).await.subscribe(&channel).await["v"].is_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_messages_match_the_document() {
    let app = TestApp::start().await;
    let document = ApiDocument::fetch(&app, "/asyncapi.json").await;
    let schema = &document.0["components"]["schemas"]["ServerChannel"];
    let token =
        app.sign(&json!({"id": SYSTEM_ADMIN, "rol": "admin_sistema", "exp": claims::now() + 600}));
    let mut client = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    client.subscribe(&format!("estadisticas:{B1}")).await;
    let is_whole = |state: &Value| {
        state["now"].is_object()
            && state["outlook"].is_object()
            && state["rooms"]["rows"][0]["data"].is_object()
    };
    let lists = |clients: &Value| clients["rows"][0]["channels"][0].is_string();
    for (channel, name) in [
        ("latido:servidor", "server.state"),
        ("latido:clientes", "server.clients"),
        ("latido:clientes/AAAAAAAA-0000-4000", "server.clients"),
    ] {
        document.check("a channel", schema, &json!(channel));
        let mut socket = app.connect_socket(&token).await;
        let message = json!({"type": "subscribe", "data": {"channel": channel}});
        document.check(
            "subscribe",
            &document.0["components"]["messages"]["subscribe"]["payload"],
            &message,
        );
        socket.send(&message).await;
        assert_eq!(
            matching_message(&document, &socket.next().await),
            "subscribed",
            "{channel}"
        );
        loop {
            let frame = socket.next().await;
            document.check(
                name,
                &document.0["components"]["messages"][name]["payload"],
                &frame,
            );
            assert_eq!(
                (
                    matching_message(&document, &frame).as_str(),
                    frame["channel"].as_str()
                ),
                (name, Some(channel))
            );
            if is_whole(&frame["data"]) || lists(&frame["data"]) {
                break;
            }
        }
        assert_eq!(
            matching_message(&document, &client.subscribe_as(channel, "error").await),
            "error"
        );
    }
    for none in [
        "latido:",
        "latido:otro",
        "latido:servidor/x",
        "estadisticas:1",
    ] {
        assert!(document.mismatch(schema, &json!(none)).is_some(), "{none}");
    }
}

fn strings_of_refs(list: &Value) -> Vec<&str> {
    let names = list.as_array().expect("a list").iter();
    names
        .map(|name| {
            name["$ref"]
                .as_str()
                .expect("a reference")
                .rsplit_once('/')
                .expect("a name")
                .1
        })
        .collect()
}
