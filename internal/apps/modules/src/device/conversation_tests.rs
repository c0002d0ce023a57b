use serde_json::json;

use super::*;

const IDENTIFY: &str = r#"{"type":"module_identify","moduleId":"M1","password":"pw","uptime":1}"#;

fn stranger(trusts_clients: bool) -> Conversation {
    Conversation::new(0, trusts_clients, Digests::new(&[7; 32]))
}

fn known() -> Conversation {
    let mut session = stranger(false);
    assert!(matches!(
        session.hear(IDENTIFY, 0),
        Some(Effect::Check { .. })
    ));
    assert!(matches!(
        session.judged(Ok(true), 0),
        Some(Effect::Report(_, Report::Identify(_)))
    ));
    session
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
fn device_is_unauthenticated_until_password_check() {
    let mut session = stranger(false);
    let Some(Effect::Check { module, password }) = session.hear(IDENTIFY, 5) else {
        panic!("a check")
    };
    assert_eq!((&*module, password.unwrap().expose()), ("M1", "pw"));
    assert!(session.module().is_none());
    assert!(session.hear(IDENTIFY, 6).is_none(), "one check at a time");
    assert!(
        session
            .hear(r#"{"type":"telemetry","moduleId":"M1","password":"pw"}"#, 7)
            .is_none()
    );
    assert_closed(session.judged(Ok(false), 8), Close::Failed);
    assert!(session.hear(IDENTIFY, 9).is_none(), "closed is closed");
    let mut session = stranger(false);
    session.hear(IDENTIFY, 0);
    assert_closed(session.judged(Err(()), 1), Close::ServerError);
}

#[test]
fn unidentified_devices_are_rejected() {
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
fn every_frame_must_match_the_authenticated_module() {
    let mut session = known();
    let good = r#"{"type":"telemetry","moduleId":"M1","password":"pw","uptime":3}"#;
    let telemetry = json!({"uptime": 3}).as_object().unwrap().clone();
    assert!(
        matches!(session.hear(good, 1), Some(Effect::Report(_, Report::Telemetry(fields))) if fields == telemetry)
    );
    assert!(matches!(
        session.hear(r#"{"type":"heartbeat"}"#, 1),
        Some(Effect::Report(_, Report::Heartbeat))
    ));
    assert_closed(session.hear(&good.replace("pw", "px"), 2), Close::Failed);
    assert_eq!(
        session.module().map(|module| &**module),
        Some("M1"),
        "somebody must say that it left"
    );
    assert_closed(known().hear(&good.replace("M1", "M2"), 2), Close::Failed);
}

#[test]
fn silent_device_is_pinged_and_then_closed() {
    let mut session = known();
    assert_eq!(session.next_time(), Some(PING_MS));
    let Some(Effect::Send(ping)) = session.on_time(PING_MS) else {
        panic!("a ping")
    };
    assert_eq!(ping, format!(r#"{{"type":"ping","timestamp":{PING_MS}}}"#));
    assert_eq!(session.next_time(), Some(PING_MS + PONG_MS));
    session.hear(r#"{"type":"pong","timestamp":60000}"#, PING_MS + 1);
    assert_eq!(session.next_time(), Some(PING_MS + 1 + PING_MS));
    session.on_time(PING_MS * 2 + 1);
    assert_closed(session.on_time(PING_MS * 2 + 1 + PONG_MS), Close::NoPong);
}
