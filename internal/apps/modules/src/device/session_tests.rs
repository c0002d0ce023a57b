use serde_json::json;

use super::*;

const IDENTIFY: &str = r#"{"type":"module_identify","moduleId":"M1","password":"pw","uptime":1}"#;

fn unidentified_session(trusts_clients: bool) -> DeviceSession {
    DeviceSession::new(0, trusts_clients, PasswordDigester::new(&[7; 32]))
}

fn authenticated_session() -> DeviceSession {
    let mut session = unidentified_session(false);
    assert!(matches!(
        session.on_text(IDENTIFY, 0),
        Some(DeviceEffect::CheckPassword { .. })
    ));
    assert!(matches!(
        session.on_auth_result(PasswordCheck::Accepted, 0),
        Some(DeviceEffect::Report(_, DeviceReport::Identify(_)))
    ));
    session
}

#[track_caller]
fn assert_closed(effect: Option<DeviceEffect>, expected: DeviceClose) {
    assert!(
        matches!(effect, Some(DeviceEffect::Close(close)) if close == expected),
        "{effect:?}"
    );
}

#[test]
fn the_close_frames_of_the_contract() {
    let frames = [
        (DeviceClose::IdentifyTimeout, 1008, "Identification timeout"),
        (DeviceClose::MissingCredentials, 1008, "Missing credentials"),
        (DeviceClose::AuthFailed, 1008, "Authentication failed"),
        (DeviceClose::NotAuthenticated, 1008, "Not authenticated"),
        (DeviceClose::InvalidJson, 1003, "Invalid JSON"),
        (DeviceClose::NewSession, 1000, "New session"),
        (DeviceClose::ServerError, 1011, "Server error"),
    ];
    for (close, code, reason) in frames {
        assert_eq!((close.code(), close.reason()), (code, reason));
    }
}

#[test]
fn device_is_unauthenticated_until_password_check() {
    let mut session = unidentified_session(false);
    let Some(DeviceEffect::CheckPassword { module, password }) = session.on_text(IDENTIFY, 5)
    else {
        panic!("a check")
    };
    assert_eq!((&*module, password.unwrap().expose()), ("M1", "pw"));
    assert!(session.module().is_none());
    assert!(
        session.on_text(IDENTIFY, 6).is_none(),
        "one check at a time"
    );
    assert!(
        session
            .on_text(r#"{"type":"telemetry","moduleId":"M1","password":"pw"}"#, 7)
            .is_none()
    );
    assert_closed(
        session.on_auth_result(PasswordCheck::Rejected, 8),
        DeviceClose::AuthFailed,
    );
    assert!(session.on_text(IDENTIFY, 9).is_none(), "closed is closed");
    let mut session = unidentified_session(false);
    session.on_text(IDENTIFY, 0);
    assert_closed(
        session.on_auth_result(PasswordCheck::Unavailable, 1),
        DeviceClose::ServerError,
    );
}

#[test]
fn unidentified_devices_are_rejected() {
    let first = |text: &str| unidentified_session(false).on_text(text, 1);
    assert_closed(first("what"), DeviceClose::InvalidJson);
    assert_closed(
        first(r#"{"type":"telemetry","moduleId":"M1","password":"pw"}"#),
        DeviceClose::NotAuthenticated,
    );
    assert_closed(
        first(r#"{"type":"module_identify","password":"pw"}"#),
        DeviceClose::MissingCredentials,
    );
    assert_closed(
        first(r#"{"type":"module_identify","moduleId":"M1"}"#),
        DeviceClose::MissingCredentials,
    );
    assert_closed(
        first(r#"{"type":"module_identify","moduleId":"M1","password":7}"#),
        DeviceClose::MissingCredentials,
    );
    let trusted =
        unidentified_session(true).on_text(r#"{"type":"module_identify","moduleId":"M1"}"#, 1);
    assert!(matches!(
        trusted,
        Some(DeviceEffect::CheckPassword { password: None, .. })
    ));
    let mut silent = unidentified_session(false);
    assert_eq!(silent.next_timer(), Some(IDENTIFY_TIMEOUT_MS));
    assert!(silent.on_timer(IDENTIFY_TIMEOUT_MS - 1).is_none());
    assert_closed(
        silent.on_timer(IDENTIFY_TIMEOUT_MS),
        DeviceClose::IdentifyTimeout,
    );
}

#[test]
fn every_frame_must_match_the_authenticated_module() {
    let mut session = authenticated_session();
    let good = r#"{"type":"telemetry","moduleId":"M1","password":"pw","uptime":3}"#;
    let telemetry = json!({"uptime": 3}).as_object().unwrap().clone();
    assert!(
        matches!(session.on_text(good, 1), Some(DeviceEffect::Report(_, DeviceReport::Telemetry(fields))) if fields == telemetry)
    );
    assert!(matches!(
        session.on_text(r#"{"type":"heartbeat"}"#, 1),
        Some(DeviceEffect::Report(_, DeviceReport::Heartbeat))
    ));
    assert_closed(
        session.on_text(&good.replace("pw", "px"), 2),
        DeviceClose::AuthFailed,
    );
    assert_eq!(
        session.module().map(|module| &**module),
        Some("M1"),
        "somebody must say that it left"
    );
    assert_closed(
        authenticated_session().on_text(&good.replace("M1", "M2"), 2),
        DeviceClose::AuthFailed,
    );
}

#[test]
fn silent_device_is_pinged_and_then_closed() {
    let mut session = authenticated_session();
    assert_eq!(session.next_timer(), Some(PING_INTERVAL_MS));
    let Some(DeviceEffect::Send(ping)) = session.on_timer(PING_INTERVAL_MS) else {
        panic!("a ping")
    };
    assert_eq!(
        ping,
        format!(r#"{{"type":"ping","timestamp":{PING_INTERVAL_MS}}}"#)
    );
    assert_eq!(
        session.next_timer(),
        Some(PING_INTERVAL_MS + PONG_TIMEOUT_MS)
    );
    session.on_text(r#"{"type":"pong","timestamp":60000}"#, PING_INTERVAL_MS + 1);
    assert_eq!(
        session.next_timer(),
        Some(PING_INTERVAL_MS + 1 + PING_INTERVAL_MS)
    );
    session.on_timer(PING_INTERVAL_MS * 2 + 1);
    assert_closed(
        session.on_timer(PING_INTERVAL_MS * 2 + 1 + PONG_TIMEOUT_MS),
        DeviceClose::NoPong,
    );
}
