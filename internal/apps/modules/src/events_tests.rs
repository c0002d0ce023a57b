use std::sync::Arc;

use super::*;
use crate::registry::ModuleRegistry;

const NOW: Millis = 1_763_803_431_007;

fn locale() -> EventBuilder {
    EventBuilder {
        time_zone: TimeZone::get("Europe/Paris").unwrap(),
    }
}

fn record() -> ModuleRecord {
    ModuleRecord {
        id: "MC-1".into(),
        name: Some("Loop".into()),
        kind: Some("Coaster".into()),
        owner: Some(UserId::new("7")),
        claimed: true,
    }
}

fn module(online: bool, telemetry: Option<Value>) -> Module {
    let mut registry = ModuleRegistry::default();
    registry.apply_row(record());
    registry.set_online("MC-1", online, NOW);
    if let Some(Value::Object(telemetry)) = telemetry {
        registry.restore("MC-1", None, Some(Arc::new(telemetry)));
    }
    registry.get("MC-1").unwrap().clone()
}

/// Formats events as `name → topics: payload`.
fn format_events(events: impl IntoIterator<Item = OutgoingEvent>) -> Vec<String> {
    let format_event = |event: OutgoingEvent| {
        let to: Vec<_> = event.topics.iter().map(TopicName::as_str).collect();
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

const STATUS: &str = r#""lastSeen":"2025-11-22T09:23:51.007Z","lastSeenFormatted":"22/11/2025 10:23:51","type":"Coaster","moduleType":"Coaster","userId":7,"name":"Loop","timestamp":"2025-11-22T09:23:51.007Z"}"#;

#[test]
fn golden_presence_events() {
    for (online, rt, own) in [
        (true, "rt_module_online", "user:module:online"),
        (false, "rt_module_offline", "user:module:offline"),
    ] {
        let payload = format!(r#"{{"moduleId":"MC-1","online":{online},{STATUS}"#);
        let expected = [
            format!("{rt} → modules-of:7 admins: {payload}"),
            format!("{own} → user:7: {payload}"),
        ];
        assert_eq!(
            format_events(locale().presence_events(&module(online, None))),
            expected
        );
    }
}

#[test]
fn golden_last_seen_events() {
    let payload = format!(r#"{{"moduleId":"MC-1","online":true,{STATUS}"#);
    let expected = [
        format!("rt_module_last_seen_updated → admins: {payload}"),
        format!("user:module:last_seen_updated → user:7: {payload}"),
    ];
    assert_eq!(
        format_events(locale().last_seen_events(&module(true, None), NOW)),
        expected
    );
}

#[test]
fn telemetry() {
    let telemetry = json!({"uptime": 12, "position": "left", "speed": 3.5});
    let expected = [
        r#"rt_telemetry_updated → modules-of:7 admins: {"moduleId":"MC-1","telemetry":{"uptime":12,"position":"left","speed":3.5},"lastSeen":"2025-11-22T09:23:51.007Z","lastSeenFormatted":"22/11/2025 10:23:51","timestamp":"2025-11-22T09:23:51.007Z"}"#,
        r#"module_telemetry → user:7 admins: {"moduleId":"MC-1","uptime":12,"position":"left","status":null,"timestamp":"2025-11-22T09:23:51.007Z"}"#,
    ];
    assert_eq!(
        format_events(locale().telemetry_events(&module(true, Some(telemetry)), NOW)),
        expected
    );
}

#[test]
fn rows() {
    let object = r#"{"module_id":"MC-1","moduleId":"MC-1","name":"Loop","type":"Coaster","userId":7,"claimed":true}"#;
    let at = r#""timestamp":"2025-11-22T09:23:51.007Z"}"#;
    for (row, action) in [
        (RowEvent::Added, "added"),
        (RowEvent::Removed, "removed"),
        (RowEvent::Updated, "updated"),
    ] {
        let payload = format!(
            r#"{{"action":"{action}","moduleId":"MC-1","name":"Loop","type":"Coaster","module":{object},{at}"#
        );
        let own = row.user_event(&record(), &UserId::new("7"), NOW);
        assert_eq!(
            format_events([own]),
            [format!("user:module:{action} → user:7: {payload}")]
        );
        let mut expected = vec![
            format!("rt_module_{action} → admins: {payload}"),
            format!(
                r#"admin:modules:list_changed → admins-on:admin: {{"changeType":"{action}","module":{object},{at}"#
            ),
        ];
        if row != RowEvent::Updated {
            let details = r#""details":{"moduleId":"MC-1"}"#;
            expected.push(format!(r#"admin:user:activity → admins: {{"userId":7,"activity":"module_{action}",{details},{at}"#));
        }
        assert_eq!(format_events(row.admin_events(&record(), NOW)), expected);
    }
}

#[test]
fn commands() {
    let (at, ana) = (
        r#""timestamp":"2025-11-22T09:23:51.007Z"}"#,
        UserId::new("ana"),
    );
    let sent = format!(r#"{{"moduleId":"MC-1","command":"left","userId":"ana",{at}"#);
    let expected = [
        format!("user:command:sent → user:ana: {sent}"),
        format!("admin:command:sent → admins: {sent}"),
        format!(
            r#"admin:user:activity → admins: {{"userId":"ana","activity":"send_module_command","details":{{"moduleId":"MC-1","command":"left"}},{at}"#
        ),
    ];
    assert_eq!(
        format_events(command_sent_events("MC-1", "left", &ana, NOW)),
        expected
    );
    let response = command_response_event(
        &record(),
        Some(&ana),
        "left",
        "success",
        &json!("left"),
        NOW,
    );
    let expected = format!(
        r#"module_command_response → user:7 admins user:ana: {{"moduleId":"MC-1","command":"left","status":"success","position":"left",{at}"#
    );
    assert_eq!(format_events([response]), [expected]);
}

#[test]
fn states_and_lists() {
    let module = module(true, Some(json!({"uptime": 1})));
    let expected = r#"{"MC-1":{"online":true,"lastSeen":"2025-11-22T09:23:51.007Z","lastSeenFormatted":"22/11/2025 10:23:51","moduleInfo":{"moduleId":"MC-1","name":"Loop","type":"Coaster","userId":7,"claimed":true},"telemetry":{"uptime":1}}}"#;
    assert_eq!(
        locale().states_payload([&module].into_iter()).to_string(),
        expected
    );
    let expected = r#"[{"moduleId":"MC-1","online":true,"lastSeen":"2025-11-22T09:23:51.007Z"}]"#;
    assert_eq!(
        modules_state_payload([&module].into_iter()).to_string(),
        expected
    );
    let expected =
        r#"{"totalModules":1,"onlineModules":1,"offlineModules":0,"moduleTypes":{"Coaster":1}}"#;
    assert_eq!(summary_payload([&module].into_iter()).to_string(), expected);
}

#[test]
fn every_name_of_the_contract_is_an_alias() {
    for (internal_name, alias) in [
        ("rt_module_online", "module:status:changed"),
        ("rt_module_offline", "module:status:changed"),
        ("rt_module_added", "admin:module:added"),
        ("rt_telemetry_updated", "module:telemetry:updated"),
        ("rt_global_stats_updated", "admin:stats:updated"),
        ("user:module:online", "module_online"),
        ("user:module:offline", "module_offline"),
        ("user:module:online", "module_presence"),
        ("user:module:offline", "module_presence"),
    ] {
        assert!(aliases(internal_name).contains(&alias), "{internal_name}");
    }
}
