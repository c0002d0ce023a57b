use super::*;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn frames_of_firmware_and_simulators() {
    let of = |text: &str| parse(text).unwrap();
    let message = of(
        r#"{"type":"module_identify","moduleId":"M1","password":"pw","moduleType":"Coaster","uptime":5,"timestamp":1}"#,
    );
    assert_eq!(
        (
            message.module.as_deref(),
            message.password.as_ref().map(Secret::expose)
        ),
        (Some("M1"), Some("pw"))
    );
    assert_eq!(
        message.report,
        DeviceReport::Identify(object(json!({"moduleType": "Coaster", "uptime": 5})))
    );
    let message = of(
        r#"{"type":"telemetry","moduleId":7,"password":"pw","uptime":5,"position":"left","isMoving":true}"#,
    );
    assert_eq!(message.module.as_deref(), Some("7"));
    assert_eq!(
        message.report,
        DeviceReport::Telemetry(object(
            json!({"uptime": 5, "position": "left", "isMoving": true})
        ))
    );
    assert_eq!(
        of(r#"{"type":"status_response","uptime":5}"#).report,
        DeviceReport::Telemetry(object(json!({"uptime": 5})))
    );
    for beat in [
        r#"{"type":"heartbeat"}"#,
        r#"{"type":"pong","timestamp":1}"#,
    ] {
        assert_eq!(of(beat).report, DeviceReport::Heartbeat);
    }
    let answer = |command: &str, status: &str, position: Value| DeviceReport::CommandResponse {
        command: command.into(),
        status: status.into(),
        position,
    };
    let report_of = |text: &str| of(text).report;
    assert_eq!(
        report_of(
            r#"{"type":"command_response","command":"left","status":"ok","position":"left"}"#
        ),
        answer("left", "ok", json!("left"))
    );
    assert_eq!(
        report_of(r#"{"type":"command_response","command":"left","success":true}"#),
        answer("left", "success", Value::Null)
    );
    assert_eq!(
        report_of(r#"{"type":"command_response","command":"left","success":false}"#),
        answer("left", "error", Value::Null)
    );
    assert_eq!(
        report_of(r#"{"type":"reset_response","success":true}"#),
        answer("reset", "success", Value::Null)
    );
    assert_eq!(
        report_of(r#"{"type":"command_error","command":"left","error":"jam"}"#),
        answer("left", "error", Value::Null)
    );
    assert_eq!(report_of(r#"{"type":"what"}"#), DeviceReport::Unknown);
    for bad in ["", "[]", "7", "{", r#""telemetry""#] {
        assert!(parse(bad).is_none(), "{bad}");
    }
}

#[test]
fn events_of_older_firmware() {
    let message = parse_event(
        "module_identify",
        &json!({"moduleId": "M1", "type": "Coaster"}),
    );
    assert_eq!(
        (message.module.as_deref(), message.password.is_none()),
        (Some("M1"), true)
    );
    assert_eq!(
        message.report,
        DeviceReport::Identify(object(json!({"moduleType": "Coaster"})))
    );
    let message = parse_event(
        "esp_register",
        &json!({"moduleId": "A1", "moduleType": "Audio", "password": "pw"}),
    );
    assert_eq!(
        message.report,
        DeviceReport::Identify(object(json!({"moduleType": "Audio"})))
    );
    assert!(message.password.is_some());
    assert_eq!(
        parse_event("module_identify", &json!("M1"))
            .module
            .as_deref(),
        Some("M1")
    );
    assert_eq!(
        parse_event("esp_telemetry", &json!({"uptime": 3})).report,
        DeviceReport::Telemetry(object(json!({"uptime": 3})))
    );
    let ack = parse_event("esp_ack", &json!({"command": "play"})).report;
    assert_eq!(
        ack,
        DeviceReport::CommandResponse {
            command: "play".into(),
            status: "success".into(),
            position: Value::Null
        }
    );
}

#[test]
fn debug_output_hides_the_password() {
    let text = r#"{"type":"telemetry","moduleId":"M1","password":"hunter2","x":1}"#;
    assert!(!format!("{:?}", parse(text).unwrap()).contains("hunter2"));
}

#[test]
fn golden_frames_for_devices() {
    let [connected, success] = connected_messages(&json!(5), &json!("left"));
    let state = r#""initialState":{"uptime":5,"position":"left"}}"#;
    assert_eq!(
        connected.to_string(),
        format!(r#"{{"type":"connected","status":"authenticated","message":"Connected",{state}"#)
    );
    assert_eq!(
        success.to_string(),
        format!(r#"{{"type":"auth_success","status":"authenticated",{state}"#)
    );
    let now = 1_763_803_431_007;
    let at = r#""timestamp":"2025-11-22T09:23:51.007Z"}"#;
    assert_eq!(
        command_frame("M1", "left", &json!({"speed": 2}), now).to_string(),
        format!(
            r#"{{"type":"command","data":{{"command":"left","moduleId":"M1","params":{{"speed":2}}}},{at}"#
        )
    );
    assert_eq!(
        command_event("M1", "left", &json!({}), now).to_string(),
        format!(
            r#"{{"type":"command","moduleId":"M1","command":"left","params":{{}},"payload":{{"command":"left","params":{{}}}},{at}"#
        )
    );
    assert_eq!(
        ping_frame(now).to_string(),
        r#"{"type":"ping","timestamp":1763803431007}"#
    );
}
