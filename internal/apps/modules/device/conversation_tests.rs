use serde_json::json;

use super::*;

const IDENTIFY: &str = r#"{"type":"module_identify","moduleId":"M1","password":"pw","uptime":1}"#;

fn stranger(trusting: bool) -> Conversation {
    Conversation::new(0, trusting, Digests::new(&[7; 32]))
}

fn known() -> Conversation {
    let mut conversation = stranger(false);
    assert!(matches!(
        conversation.hear(IDENTIFY, 0),
        Some(Effect::Check { .. })
    ));
    assert!(matches!(
        conversation.judged(Ok(true), 0),
        Some(Effect::Report(_, Report::Identify(_)))
    ));
    conversation
}

#[track_caller]
fn assert_closed(effect: Option<Effect>, expected: Close) {
    assert!(
        matches!(effect, Some(Effect::Close(close)) if close == expected),
        "{effect:?}"
    );
}

#[test]
fn the_close_frames_of_the_contract() {
    let frames = [
        (Close::Timeout, 1008, "Identification timeout"),
        (Close::MissingCredentials, 1008, "Missing credentials"),
        (Close::Failed, 1008, "Authentication failed"),
        (Close::NotAuthenticated, 1008, "Not authenticated"),
        (Close::InvalidJson, 1003, "Invalid JSON"),
        (Close::NewSession, 1000, "New session"),
        (Close::ServerError, 1011, "Server error"),
    ];
    for (close, code, reason) in frames {
        assert_eq!((close.code(), close.reason()), (code, reason));
    }
}

#[test]
fn nobody_is_believed_before_the_password_was_checked() {
    let mut conversation = stranger(false);
    let Some(Effect::Check { module, password }) = conversation.hear(IDENTIFY, 5) else {
        panic!("a check")
    };
    assert_eq!((&*module, password.unwrap().expose()), ("M1", "pw"));
    assert!(conversation.module().is_none());
    assert!(
        conversation.hear(IDENTIFY, 6).is_none(),
        "one check at a time"
    );
    assert!(
        conversation
            .hear(r#"{"type":"telemetry","moduleId":"M1","password":"pw"}"#, 7)
            .is_none()
    );
    assert_closed(conversation.judged(Ok(false), 8), Close::Failed);
    assert!(conversation.hear(IDENTIFY, 9).is_none(), "closed is closed");
    let mut conversation = stranger(false);
    conversation.hear(IDENTIFY, 0);
    assert_closed(conversation.judged(Err(()), 1), Close::ServerError);
}

#[test]
fn strangers_are_turned_away() {
    let first = |text: &str| stranger(false).hear(text, 1);
    assert_closed(first("what"), Close::InvalidJson);
    assert_closed(
        first(r#"{"type":"telemetry","moduleId":"M1","password":"pw"}"#),
        Close::NotAuthenticated,
    );
    assert_closed(
        first(r#"{"type":"module_identify","password":"pw"}"#),
        Close::MissingCredentials,
    );
    assert_closed(
        first(r#"{"type":"module_identify","moduleId":"M1"}"#),
        Close::MissingCredentials,
    );
    assert_closed(
        first(r#"{"type":"module_identify","moduleId":"M1","password":7}"#),
        Close::MissingCredentials,
    );
    let trusted = stranger(true).hear(r#"{"type":"module_identify","moduleId":"M1"}"#, 1);
    assert!(matches!(
        trusted,
        Some(Effect::Check { password: None, .. })
    ));
    let mut silent = stranger(false);
    assert_eq!(silent.next_time(), Some(IDENTIFY_MS));
    assert!(silent.on_time(IDENTIFY_MS - 1).is_none());
    assert_closed(silent.on_time(IDENTIFY_MS), Close::Timeout);
}

#[test]
fn every_frame_is_compared_with_what_was_proved() {
    let mut conversation = known();
    let good = r#"{"type":"telemetry","moduleId":"M1","password":"pw","uptime":3}"#;
    let told = json!({"uptime": 3}).as_object().unwrap().clone();
    assert!(
        matches!(conversation.hear(good, 1), Some(Effect::Report(_, Report::Telemetry(fields))) if fields == told)
    );
    assert!(matches!(
        conversation.hear(r#"{"type":"heartbeat"}"#, 1),
        Some(Effect::Report(_, Report::Heartbeat))
    ));
    assert_closed(
        conversation.hear(&good.replace("pw", "px"), 2),
        Close::Failed,
    );
    assert_eq!(
        conversation.module().map(|module| &**module),
        Some("M1"),
        "somebody must say that it left"
    );
    assert_closed(known().hear(&good.replace("M1", "M2"), 2), Close::Failed);
}

#[test]
fn silence_is_asked_and_then_ended() {
    let mut conversation = known();
    assert_eq!(conversation.next_time(), Some(PING_MS));
    let Some(Effect::Send(ping)) = conversation.on_time(PING_MS) else {
        panic!("a ping")
    };
    assert_eq!(ping, format!(r#"{{"type":"ping","timestamp":{PING_MS}}}"#));
    assert_eq!(conversation.next_time(), Some(PING_MS + PONG_MS));
    conversation.hear(r#"{"type":"pong","timestamp":60000}"#, PING_MS + 1);
    assert_eq!(conversation.next_time(), Some(PING_MS + 1 + PING_MS));
    conversation.on_time(PING_MS * 2 + 1);
    assert_closed(
        conversation.on_time(PING_MS * 2 + 1 + PONG_MS),
        Close::NoPong,
    );
}
