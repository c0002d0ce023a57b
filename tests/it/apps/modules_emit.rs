//! Every method of the emit API of `modules`, in both forms of its arguments, as the document of
//! the older system shows them, and the events that pages then receive.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::modules::{KEY, emit, start_app};
use crate::entry_points::{next_packet, open_socketio};
use crate::harness::{TestApp, TestSocket, claims};

/// The pages that listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    /// The page `modules` of user 7.
    Ana,
    /// The page `admin` of an administrator, user 1.
    Admin,
}

use Page::{Admin, Ana};

/// A call, with the statement that a caller executes before it.
struct Call {
    sql: &'static str,
    method: &'static str,
    body: Value,
    /// The pages and the beginnings of the events that they receive.
    expected: &'static [(Page, &'static str)],
}

/// Returns two calls of a method: by position and by name.
fn both(
    method: &'static str,
    by_position: Value,
    by_name: Value,
    expected: &'static [(Page, &'static str)],
) -> [Call; 2] {
    [by_position, by_name].map(|body| Call {
        sql: "",
        method,
        body,
        expected,
    })
}

fn after(
    sql: &'static str,
    method: &'static str,
    body: Value,
    expected: &'static [(Page, &'static str)],
) -> [Call; 1] {
    [Call {
        sql,
        method,
        body,
        expected,
    }]
}

/// The calls about rows, each after its change. The triggers are off, so that nothing but the call
/// tells of it.
fn row_calls() -> impl Iterator<Item = Call> {
    let ana = json!({"module_id": "M5", "name": "Drop", "userId": 7});
    let eva = json!({"moduleId": "M6", "name": "Drop", "userId": 8});
    let insert_m5 =
        "INSERT INTO modules (module_id, name, user_id, claimed) VALUES ('M5', 'Drop', 7, true)";
    let insert_m6 =
        "INSERT INTO modules (module_id, name, user_id, claimed) VALUES ('M6', 'Drop', 7, true)";
    let added: &[_] = &[
        (Ana, r#"["user:module:added",{"action":"added""#),
        (Admin, r#"["rt_module_added",{"action":"added""#),
        (Admin, r#"["admin:module:added",{"action":"added""#),
    ];
    let updated: &[_] = &[
        (Ana, r#"["user:module:updated""#),
        (Admin, r#"["rt_module_updated""#),
    ];
    let removed: &[_] = &[
        (Ana, r#"["user:module:removed""#),
        (Admin, r#"["rt_module_removed""#),
    ];
    [
        after(insert_m5, "emitModuleAdded", json!([ana]), added),
        after(
            insert_m6,
            "emitModuleAdded",
            json!({"moduleData": eva}),
            added,
        ),
        after(
            "UPDATE modules SET name = 'Loop 5' WHERE module_id = 'M5'",
            "emitModuleUpdated",
            json!([ana]),
            updated,
        ),
        after(
            "UPDATE modules SET name = 'Loop 6' WHERE module_id = 'M6'",
            "emitModuleUpdated",
            json!({"moduleData": eva}),
            updated,
        ),
        after(
            "DELETE FROM modules WHERE module_id = 'M5'",
            "emitModuleRemoved",
            json!([7, ana]),
            removed,
        ),
        after(
            "DELETE FROM modules WHERE module_id = 'M6'",
            "emitModuleRemoved",
            eva,
            removed,
        ),
    ]
    .into_iter()
    .flatten()
}

fn module_calls() -> impl Iterator<Item = Call> {
    let info = json!({"type": "Station", "name": "Station principale", "userId": 7});
    let named = json!({"moduleId": "M1", "moduleInfo": info});
    let online: &[_] = &[
        (Ana, r#"["rt_module_online",{"moduleId":"M1""#),
        (Ana, r#"["user:module:online",{"moduleId":"M1""#),
        (Admin, r#"["module:status:changed",{"moduleId":"M1""#),
    ];
    let offline: &[_] = &[
        (Ana, r#"["rt_module_offline",{"moduleId":"M1""#),
        (Admin, r#"["rt_module_offline",{"moduleId":"M1""#),
    ];
    let presence = [
        ("emitModuleOnline", json!(["M1", info]), online),
        ("emitModuleOffline", json!(["M1", info]), offline),
        ("emitModuleOnline", named.clone(), online),
        ("emitModuleOffline", named, offline),
    ];
    let presence = presence.map(|(method, body, expected)| after("", method, body, expected));
    let telemetry = json!({"uptime": 9, "position": "left"});
    let (position, name) = (
        json!(["M1", telemetry]),
        json!({"moduleId": "M1", "telemetryData": telemetry}),
    );
    let seen: &[_] = &[
        (Ana, r#"["rt_telemetry_updated",{"moduleId":"M1""#),
        (Ana, r#"["module:telemetry:updated",{"moduleId":"M1""#),
        (Admin, r#"["rt_telemetry_updated",{"moduleId":"M1""#),
    ];
    let sent: &[_] = &[
        (
            Ana,
            r#"["user:command:sent",{"moduleId":"M1","command":"left","userId":7"#,
        ),
        (
            Admin,
            r#"["admin:command:sent",{"moduleId":"M1","command":"left","userId":7"#,
        ),
    ];
    let answered: &[_] = &[(
        Admin,
        r#"["module_command_response",{"moduleId":"M1","command":"left""#,
    )];
    let last_seen: &[_] = &[(Admin, r#"["rt_module_last_seen_updated",{"moduleId":"M1""#)];
    presence.into_iter().flatten().chain(
        [
            both("emitTelemetryUpdate", position.clone(), name.clone(), seen),
            both("emitTelemetryUpdated", position, name, seen),
            both(
                "emitCommandSent",
                json!(["M1", "left", 7]),
                json!({"moduleId": "M1", "command": "left", "userId": 7}),
                sent,
            ),
            both(
                "emitCommandResponse",
                json!(["M1", "left", "success", "left"]),
                json!({"moduleId": "M1", "command": "left"}),
                answered,
            ),
            both(
                "emitModuleLastSeenUpdated",
                json!(["M1"]),
                json!({"moduleId": "M1"}),
                last_seen,
            ),
        ]
        .into_iter()
        .flatten(),
    )
}

/// A user as a caller passes it, and the beginning of an event that names it.
fn user() -> Value {
    json!({"id": 7, "name": "Ana", "email": "a@x", "is_admin": false, "password_hash": "x"})
}

fn user_calls() -> impl Iterator<Item = Call> {
    let with_session = || json!([user(), "s3cret session"]);
    let named = || json!({"userData": user(), "sessionId": "s3cret session"});
    let logged_in: &[_] = &[(
        Admin,
        r#"["rt_user_logged_in",{"action":"logged_in","user":{"id":7,"name":"Ana","email":"a@x","isAdmin":false},"timestamp""#,
    )];
    let logged_out: &[_] = &[(
        Admin,
        r#"["rt_user_logged_out",{"action":"logged_out","user":{"id":7"#,
    )];
    let registered: &[_] = &[(
        Admin,
        r#"["admin:user:registered",{"action":"registered","user":{"id":7"#,
    )];
    let active: &[_] = &[(
        Admin,
        r#"["admin:user:activity",{"userId":7,"activity":"module_added","details":{"a":1}"#,
    )];
    [
        both("emitUserLoggedIn", with_session(), named(), logged_in),
        both(
            "emitUserLoggedIn",
            json!([7, user()]),
            json!({"userId": 7, "data": user()}),
            logged_in,
        ),
        both("emitUserLoggedOut", with_session(), named(), logged_out),
        both("emitUserRegistered", json!([user()]), named(), registered),
        both(
            "emitUserActivity",
            json!([7, "module_added", {"a": 1}]),
            json!({"userId": 7, "activity": "module_added", "metadata": {"a": 1}}),
            active,
        ),
        both(
            "emitUserSessionNew",
            json!([7, "Hi"]),
            json!({"userId": 7, "message": "Hi"}),
            &[(Ana, r#"["user:session:new",{"message":"Hi""#)],
        ),
        both(
            "emitUserWelcome",
            json!([user(), "Hi"]),
            json!({"user": user(), "message": "Hi"}),
            &[(Ana, r#"["user:welcome",{"message":"Hi","user":{"id":7"#)],
        ),
    ]
    .into_iter()
    .flatten()
}

fn profile_calls() -> impl Iterator<Item = Call> {
    let (old, new) = (
        json!({"id": 7, "name": "Old"}),
        json!({"id": 7, "name": "New"}),
    );
    let renamed: &[_] = &[
        (
            Ana,
            r#"["rt_user_profile_updated",{"action":"profile_updated","user":{"id":7,"name":"New"}"#,
        ),
        (
            Admin,
            r#"["rt_user_profile_updated",{"action":"profile_updated","user":{"id":7,"name":"New"}"#,
        ),
    ];
    let secured: &[_] = &[
        (Ana, r#"["user:security:password_changed",{"message":"#),
        (
            Admin,
            r#"["admin:user:password_changed",{"action":"password_changed","userId":7"#,
        ),
    ];
    [
        both(
            "emitUserProfileUpdated",
            json!([old, new]),
            json!({"oldData": old, "newData": new}),
            renamed,
        ),
        both(
            "emitUserProfileUpdated",
            json!([new, "s3cret session"]),
            json!({"user": new}),
            renamed,
        ),
        both(
            "emitUserPasswordChanged",
            json!([user()]),
            json!({"userData": user()}),
            secured,
        ),
    ]
    .into_iter()
    .flatten()
}

fn admin_calls() -> impl Iterator<Item = Call> {
    let stats: &[_] = &[
        (Admin, r#"["rt_global_stats_updated",{"stats":"#),
        (Admin, r#"["admin:stats:updated",{"stats":"#),
    ];
    let acted: &[_] = &[(
        Admin,
        r#"["admin:action:performed",{"adminUserId":2,"action":"user_promoted","details":{"id":7}"#,
    )];
    let (users, modules): (&[_], &[_]) = (
        &[(
            Admin,
            r#"["admin:users:list_changed",{"changeType":"added","user":{"id":7"#,
        )],
        &[(
            Admin,
            r#"["admin:modules:list_changed",{"changeType":"added","module":{"module_id":"M1"}"#,
        )],
    );
    let mut calls: Vec<Call> = Vec::new();
    for method in ["emitStatsUpdate", "emitGlobalStats"] {
        calls.extend(both(method, json!([]), json!({}), stats));
    }
    calls.extend(both(
        "emitAdminAction",
        json!([2, "user_promoted", {"id": 7}]),
        json!({"adminId": 2, "action": "user_promoted", "details": {"id": 7}}),
        acted,
    ));
    let user_named = json!({"changeType": "added", "userData": user()});
    let module = json!({"module_id": "M1"});
    let module_named = json!({"changeType": "added", "moduleData": module});
    for (one, other) in [
        ("emitUserListChanged", "emitModuleListChanged"),
        ("emitUsersListChanged", "emitModulesListChanged"),
    ] {
        calls.extend(both(
            one,
            json!(["added", user()]),
            user_named.clone(),
            users,
        ));
        calls.extend(both(
            other,
            json!(["added", module]),
            module_named.clone(),
            modules,
        ));
    }
    calls.into_iter()
}

fn system_calls() -> impl Iterator<Item = Call> {
    let maintenance: &[_] = &[
        (
            Ana,
            r#"["system:maintenance",{"inMaintenance":true,"reason":"Mise à jour","adminUserId":1"#,
        ),
        (Admin, r#"["system:maintenance",{"inMaintenance":true"#),
    ];
    let alert: &[_] = &[(
        Admin,
        r#"["system:alert",{"level":"error","message":"m","details":{"a":1}"#,
    )];
    let measured: &[_] = &[(
        Admin,
        r#"["admin:performance:updated",{"performance":{"cpu":1}"#,
    )];
    let mut calls: Vec<Call> = Vec::new();
    for method in ["emitMaintenanceMode", "emitSystemMaintenance"] {
        calls.extend(both(
            method,
            json!([true, "Mise à jour", 1]),
            json!({"inMaintenance": true, "reason": "Mise à jour", "adminUserId": 1}),
            maintenance,
        ));
    }
    calls.extend(both(
        "emitSystemAlert",
        json!(["error", "m", {"a": 1}]),
        json!({"level": "error", "message": "m", "details": {"a": 1}}),
        alert,
    ));
    for method in ["emitServerPerformance", "emitPerformance"] {
        calls.extend(both(
            method,
            json!([{"cpu": 1}]),
            json!({"performanceData": {"cpu": 1}}),
            measured,
        ));
    }
    calls.into_iter()
}

/// Opens a page of a user with a Socket.IO client's own packets.
async fn open_page(app: &TestApp, user: i64, role: &str, page: &str) -> TestSocket {
    let token = app.sign(&json!({"id": user, "rol": role, "exp": claims::now() + 600}));
    let mut socket = open_socketio(app).await;
    socket
        .send_raw(format!("40{}", json!({"token": token})).into())
        .await;
    next_packet(&mut socket, "40").await;
    let claim = json!(["client:authenticate", {"userId": user, "page": page}]);
    socket.send_raw(format!("42{claim}").into()).await;
    next_packet(&mut socket, r#"42["client:auth:success""#).await;
    socket
}

/// Reads the page's events until each expected one has come.
async fn read_expected(socket: &mut TestSocket, mut missing: Vec<&str>, what: &str) {
    while !missing.is_empty() {
        let text = socket.next_text().await;
        if text == "2" {
            socket.send_raw("3".into()).await;
        }
        assert!(!text.contains("s3cret"), "{what}: {text}");
        missing.retain(|start| {
            !text
                .strip_prefix("42")
                .is_some_and(|event| event.starts_with(start))
        });
    }
}

/// Returns the methods that the app's document names.
fn documented_methods() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/apps/modules.md");
    let text = fs::read_to_string(path).unwrap();
    let cells = text
        .lines()
        .filter(|line| line.starts_with("| `emit"))
        .filter_map(|line| line.split('|').nth(1));
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    names.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_takes_its_arguments_by_position_and_by_name() {
    let (app, client) = start_app().await;
    let mut ana = open_page(&app, 7, "user", "modules").await;
    let mut admin = open_page(&app, 1, "admin", "admin").await;
    client
        .batch_execute("ALTER TABLE modules DISABLE TRIGGER USER")
        .await
        .unwrap();
    let calls = module_calls()
        .chain(row_calls())
        .chain(user_calls())
        .chain(profile_calls())
        .chain(admin_calls())
        .chain(system_calls());
    let mut called = BTreeSet::new();
    for Call {
        sql,
        method,
        body,
        expected,
    } in calls
    {
        client.batch_execute(sql).await.unwrap();
        let what = format!("{method} {body}");
        assert_eq!(emit(&app, KEY, method, &body).await, 200, "{what}");
        for (page, socket) in [(Ana, &mut ana), (Admin, &mut admin)] {
            let of_page = expected.iter().filter(|(to, _)| *to == page);
            read_expected(socket, of_page.map(|(_, event)| *event).collect(), &what).await;
        }
        called.insert(method.to_owned());
    }
    assert_eq!(
        called,
        documented_methods(),
        "left: called here; right: in the document"
    );
    let half = json!({"oldData": {"id": 7, "name": "Old"}});
    assert_eq!(
        emit(&app, KEY, "emitUserProfileUpdated", &half).await,
        400,
        "the old profile alone is not broadcast"
    );
}
