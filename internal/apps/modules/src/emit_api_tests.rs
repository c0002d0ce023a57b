use serde_json::json;

use super::*;
use crate::events::OutgoingEvent;

const NOW: Millis = 1_763_803_431_007;
const AT: &str = r#""timestamp":"2025-11-22T09:23:51.007Z"}"#;

/// Formats the events of a call as `name → topics: payload`.
fn format_events(method: &str, body: Value) -> Vec<String> {
    let EmitCall::Publish(events) = parse(method, body, NOW).unwrap() else {
        panic!("{method} says something")
    };
    let format_event = |event: OutgoingEvent| {
        let to: Vec<_> = event
            .topics
            .iter()
            .map(|topic| topic.as_str().to_owned())
            .collect();
        let except = event
            .except_user
            .map(|user| format!(" but {}", user.as_str()))
            .unwrap_or_default();
        format!(
            "{} → {}{except}: {}",
            event.name,
            to.join(" "),
            event.payload
        )
    };
    events.into_iter().map(format_event).collect()
}

#[test]
fn users() {
    let user = json!({"id": 7, "name": "Ana", "email": "a@x", "isAdmin": false, "sessionId": "s3cret", "password_hash": "x"});
    let user_json = r#""user":{"id":7,"name":"Ana","email":"a@x","isAdmin":false}"#;
    let body = || json!({"user": user, "sessionId": "s3cret"});
    assert_eq!(
        format_events("emitUserLoggedIn", body()),
        [format!(
            r#"rt_user_logged_in → admins: {{"action":"logged_in",{user_json},{AT}"#
        )]
    );
    assert_eq!(
        format_events("emitUserLoggedOut", body()),
        [format!(
            r#"rt_user_logged_out → admins: {{"action":"logged_out",{user_json},{AT}"#
        )]
    );
    assert_eq!(
        format_events("emitUserRegistered", body()),
        [format!(
            r#"admin:user:registered → admins: {{"action":"registered",{user_json},{AT}"#
        )]
    );
    let profile = format!(
        r#"rt_user_profile_updated → user:7 admins: {{"action":"profile_updated",{user_json},{AT}"#
    );
    assert_eq!(format_events("emitUserProfileUpdated", body()), [profile]);
    assert_eq!(
        format_events("emitUserWelcome", json!([user, "Hi"])),
        [format!(
            r#"user:welcome → user:7: {{"message":"Hi",{user_json},{AT}"#
        )]
    );
    let new = format!(r#"user:session:new → user:7: {{"message":"New session",{AT}"#);
    assert_eq!(
        format_events("emitUserSessionNew", json!({"userId": 7})),
        [new]
    );
    let expected = [
        format!(r#"user:security:password_changed → user:7: {{"message":"Password changed",{AT}"#),
        format!(
            r#"admin:user:password_changed → admins: {{"action":"password_changed","userId":7,{AT}"#
        ),
    ];
    assert_eq!(
        format_events("emitUserPasswordChanged", json!(["7"])),
        expected
    );
    let activity = format!(
        r#"admin:user:activity → admins: {{"userId":7,"activity":"module_added","details":{{"a":1}},{AT}"#
    );
    assert_eq!(
        format_events(
            "emitUserActivity",
            json!({"userId": 7, "activity": "module_added", "details": {"a": 1, "sessionId": "x"}})
        ),
        [activity]
    );
    assert!(
        format_events(
            "emitUserActivity",
            json!({"userId": 7, "activity": "looked"})
        )
        .is_empty()
    );
}

#[test]
fn administrators_and_the_system() {
    let action =
        json!({"adminUserId": 1, "action": "delete_user", "details": {"id": 3, "token": "t"}});
    let expected = r#"admin:action:performed → admins but 1: {"adminUserId":1,"action":"delete_user","details":{"id":3},"#;
    assert_eq!(
        format_events("emitAdminAction", action),
        [format!("{expected}{AT}")]
    );
    let expected =
        r#"system:maintenance → all: {"inMaintenance":true,"reason":"update","adminUserId":1,"#;
    assert_eq!(
        format_events("emitSystemMaintenance", json!([true, "update", 1])),
        [format!("{expected}{AT}")]
    );
    for (level, to) in [
        ("critical", "admins"),
        ("error", "admins"),
        ("warning", "admins-on:admin"),
        ("info", "admins-on:admin"),
    ] {
        let expected = format!(
            r#"system:alert → {to}: {{"level":"{level}","message":"m","details":null,{AT}"#
        );
        assert_eq!(
            format_events("emitSystemAlert", json!({"level": level, "message": "m"})),
            [expected]
        );
    }
    let performance =
        format!(r#"admin:performance:updated → admins-on:admin: {{"performance":{{"cpu":1}},{AT}"#);
    assert_eq!(
        format_events("emitPerformance", json!({"performance": {"cpu": 1}})),
        [performance]
    );
    let users = format!(
        r#"admin:users:list_changed → admins-on:admin: {{"changeType":"added","user":{{"id":3}},{AT}"#
    );
    assert_eq!(
        format_events("emitUsersListChanged", json!(["added", {"id": 3}])),
        [users]
    );
    let modules = format!(
        r#"admin:modules:list_changed → admins-on:admin: {{"changeType":"removed","module":{{"id":"M"}},{AT}"#
    );
    assert_eq!(
        format_events(
            "emitModulesListChanged",
            json!(["removed", {"id": "M", "module_code": "x"}])
        ),
        [modules]
    );
    assert_eq!(
        format_events("emitCommandSent", json!(["M1", "left", 7])).len(),
        3
    );
}

#[test]
fn modules() {
    let of = |method: &str, body: Value| parse(method, body, NOW).unwrap();
    let module = || "M1".to_owned();
    assert_eq!(
        of("emitModuleOnline", json!("M1")),
        EmitCall::SetOnline {
            module: module(),
            online: true
        }
    );
    assert_eq!(
        of("emitModuleOffline", json!({"moduleId": "M1", "x": 1})),
        EmitCall::SetOnline {
            module: module(),
            online: false
        }
    );
    assert_eq!(
        of("emitModuleLastSeenUpdated", json!(["M1", "2025"])),
        EmitCall::RecordSeen {
            module: module(),
            telemetry: None
        }
    );
    for method in ["emitModuleAdded", "emitModuleRemoved", "emitModuleUpdated"] {
        assert_eq!(
            of(method, json!({"userId": 7, "module": {"module_id": "M1"}})),
            EmitCall::RefreshRow { module: module() }
        );
    }
    let telemetry = json!({"uptime": 1}).as_object().cloned();
    assert_eq!(
        of(
            "emitTelemetryUpdated",
            json!(["M1", {"uptime": 1, "password": "x"}])
        ),
        EmitCall::RecordSeen {
            module: module(),
            telemetry
        }
    );
    let answer = EmitCall::CommandResponse {
        module: module(),
        command: "left".into(),
        status: "success".into(),
        position: json!("left"),
    };
    assert_eq!(
        of(
            "emitCommandResponse",
            json!({"moduleId": "M1", "command": "left", "position": "left"})
        ),
        answer
    );
    assert_eq!(of("emitGlobalStats", Value::Null), EmitCall::PublishStats);
}

#[test]
fn every_method_rejects_missing_arguments() {
    for EmitMethod {
        names, arguments, ..
    } in METHODS
    {
        for method in names.iter().filter(|_| !arguments.is_empty()) {
            assert!(
                matches!(
                    parse(method, Value::Null, NOW),
                    Err(EmitError::InvalidArgument(_))
                ),
                "{method}"
            );
        }
    }
    assert_eq!(
        parse("emitEverything", Value::Null, NOW),
        Err(EmitError::UnknownMethod)
    );
}

#[test]
fn deeply_nested_values_are_cut() {
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!({"a": deep});
    }
    let [said] = &format_events("emitPerformance", json!({"performance": deep}))[..] else {
        panic!("one")
    };
    assert!(said.len() < 300 && said.contains("null"));
}
