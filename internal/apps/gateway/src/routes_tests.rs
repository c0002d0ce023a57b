#[path = "routes_golden_tests.rs"]
mod golden;

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::*;
use crate::authenticator::Authenticator;
use crate::config::Config;
use crate::maintenance::disconnect_inactive;
use crate::rooms::{RoomMember, RoomService};
use crate::user::{ClientVersion, GatewayUser};
use latido_auth::{ApiKey, Secret};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_event_bus::{DisconnectReason, Mailbox};
use latido_http::HttpApp as _;

const KEY: &str = "a key of the tests";

fn gateway(config: Config) -> Arc<GatewayShared> {
    let clock = Clock::system();
    let authenticator = Authenticator::new(&config, None, &clock, &Drain::new());
    Arc::new(GatewayShared {
        api_keys: config.api_key.clone().into_iter().collect(),
        config,
        rooms: RoomService::new(&clock),
        authenticator,
        clients_changed: AtomicBool::new(false),
    })
}

fn with_key() -> Config {
    Config {
        api_key: Some(ApiKey::parse(&Secret::new(KEY)).unwrap()),
        ..Config::default()
    }
}

fn with_peer(mut request: AppRequest, peer: &str) -> AppRequest {
    request.client = Some(format!("{peer}:1").parse::<SocketAddr>().unwrap());
    request
}

async fn respond(gateway: &Arc<GatewayShared>, request: AppRequest) -> AppResponse {
    let router = router(Arc::clone(gateway));
    assert!(router.matches(request.path()));
    match router.authorize(&request) {
        Ok(handle) => handle(request).await,
        Err(response) => response,
    }
}

async fn send_request(gateway: &Arc<GatewayShared>, request: AppRequest) -> (u16, Value) {
    let answer = respond(gateway, request).await;
    (
        answer.status,
        serde_json::from_slice(&answer.body).unwrap_or_default(),
    )
}

async fn send_with_key(
    gateway: &Arc<GatewayShared>,
    method: &str,
    path: &str,
    body: &Value,
) -> (u16, Value) {
    send_request(
        gateway,
        AppRequest::new(method, path)
            .with_header("x-api-key", KEY)
            .with_body(body.to_string()),
    )
    .await
}

#[tokio::test]
async fn publish_status_depends_on_the_prefix() {
    let gateway = gateway(with_key());
    let valid = [
        (
            "emit-event",
            json!({"type": "reserva:creada", "data": {"proveedor_id": 9}, "timestamp": "x"}),
        ),
        (
            "emit-event",
            json!({"type": "system_notification", "data": {"message": "hola", "type": "info"}}),
        ),
        (
            "notify-role",
            json!({"role": "admin", "event": "aviso", "payload": 1}),
        ),
        (
            "notify-user",
            json!({"userId": 7, "event": "aviso", "payload": {}}),
        ),
        ("update-dashboard", json!({"a": 1})),
    ];
    for (path, body) in valid {
        let (first, second) = (
            format!("/dashboard/{path}"),
            format!("/api/dashboard/{path}"),
        );
        assert_eq!(
            send_with_key(&gateway, "POST", &first, &body).await.0,
            200,
            "{path}"
        );
        let (status, response) = send_with_key(&gateway, "POST", &second, &body).await;
        assert_eq!(
            (
                status,
                response["success"].as_bool(),
                response["message"].is_string()
            ),
            (202, Some(true), true)
        );
        assert_eq!(
            send_with_key(&gateway, "GET", &first, &json!(null)).await.0,
            405
        );
    }
    let (_, events) = send_with_key(&gateway, "GET", "/dashboard/events", &json!(null)).await;
    assert_eq!(
        (
            events["totalEvents"].as_u64(),
            events["recentEvents"][0]["type"].as_str()
        ),
        (Some(2), Some("reserva:creada"))
    );
    assert_eq!(
        send_with_key(&gateway, "POST", "/dashboard/cleanup", &json!({})).await,
        (201, Value::Null)
    );
    assert_eq!(
        send_with_key(&gateway, "POST", "/api/dashboard/cleanup", &json!({}))
            .await
            .0,
        202
    );
}

#[tokio::test]
async fn publish_rejects_invalid_bodies() {
    let gateway = gateway(with_key());
    for (path, body) in [
        ("emit-event", json!({"data": 1})),
        ("emit-event", json!({"type": "disconnect"})),
        ("emit-event", json!([])),
        ("notify-role", json!({"role": "jefe", "event": "a"})),
        ("notify-user", json!({"event": "a"})),
        ("update-dashboard", json!(1)),
    ] {
        assert_eq!(
            send_with_key(&gateway, "POST", &format!("/dashboard/{path}"), &body)
                .await
                .0,
            400,
            "{path} {body}"
        );
    }
}

/// Returns a gateway with one identified client in three rooms, and one event.
fn gateway_with_client() -> (Arc<GatewayShared>, RoomMember, Mailbox) {
    let gateway = gateway(with_key());
    let (mut member, mailbox) = gateway.rooms.connect(ClientVersion::V1, "abc").unwrap();
    member.identify(GatewayUser {
        id: "7".into(),
        role: Role::Cliente,
    });
    member.join("service_5").unwrap();
    gateway
        .rooms
        .publish_event("reserva:creada", &json!({"cliente_id": 7}), None);
    (gateway, member, mailbox)
}

/// Returns the names of an object's fields.
fn field_names(value: &Value) -> String {
    let names = value.as_object().unwrap().keys().cloned();
    names.collect::<Vec<_>>().join(" ")
}

async fn get(gateway: &Arc<GatewayShared>, path: &str) -> Value {
    send_with_key(gateway, "GET", path, &json!(null)).await.1
}

#[tokio::test]
async fn overview_has_the_contract_fields() {
    let empty = get(&gateway(with_key()), "/dashboard").await;
    assert_eq!(empty["clients"]["averageConnectionTime"].to_string(), "0.0");
    let (gateway, _member, _mailbox) = gateway_with_client();
    let overview = get(&gateway, "/dashboard").await;
    assert_eq!(field_names(&overview), "metrics clients rooms system");
    assert_eq!(
        field_names(&overview["metrics"]),
        "totalConnections activeConnections eventsEmitted roomsCreated lastUpdated"
    );
    assert_eq!(
        field_names(&overview["clients"]),
        "total byRole averageConnectionTime inactiveClients"
    );
    assert_eq!(
        overview["clients"]["byRole"],
        json!({"cliente": 1, "proveedor": 0, "admin": 0})
    );
    assert_eq!(
        field_names(&overview["rooms"]),
        "total totalClients averageClientsPerRoom mostActiveRooms"
    );
    assert_eq!(
        field_names(&overview["rooms"]["mostActiveRooms"][0]),
        "name clients lastActivity"
    );
    assert_eq!(
        field_names(&overview["system"]),
        "uptime memoryUsage nodeVersion"
    );
    assert_eq!(overview["metrics"]["roomsCreated"], 3);
}

#[tokio::test]
async fn clients_and_rooms_have_the_contract_fields() {
    let (gateway, _member, _mailbox) = gateway_with_client();
    let clients = get(&gateway, "/dashboard/clients").await;
    assert_eq!(
        field_names(&clients[0]),
        "userId role socketId connectedAt lastActivity rooms isActive"
    );
    assert_eq!(
        clients[0]["rooms"],
        json!(["all_clientes", "cliente_7", "service_5"]),
        "internal rooms are not listed"
    );
    assert_eq!(
        (&clients[0]["userId"], &clients[0]["isActive"]),
        (&json!("7"), &json!(true))
    );
    let rooms = get(&gateway, "/dashboard/rooms").await;
    assert_eq!(
        (rooms.as_array().unwrap().len(), field_names(&rooms[0])),
        (
            3,
            "name clientsCount createdAt lastActivity clients metadata".into()
        )
    );
    assert_eq!(rooms[0]["clients"], json!(["abc"]));
    assert_eq!(
        get(&gateway, "/api/dashboard/clients").await["clients"],
        clients
    );
    assert_eq!(
        get(&gateway, "/api/dashboard/rooms").await["rooms"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[tokio::test]
async fn other_responses_have_the_contract_fields() {
    let (gateway, _member, _mailbox) = gateway_with_client();
    assert_eq!(
        field_names(&get(&gateway, "/dashboard/events").await["recentEvents"][0]),
        "type timestamp data"
    );
    assert_eq!(
        field_names(&get(&gateway, "/api/dashboard/events").await["events"][0]),
        "type payload timestamp source"
    );
    assert_eq!(
        field_names(&get(&gateway, "/dashboard/stats").await),
        "timestamp activeConnections totalRooms eventsPerMinute systemLoad"
    );
    assert_eq!(
        field_names(&get(&gateway, "/api/dashboard/status").await),
        "status lastCheck error"
    );
    assert_eq!(
        field_names(&get(&gateway, "/api/health").await),
        "status timestamp uptime"
    );
    assert_eq!(
        send_with_key(&gateway, "DELETE", "/dashboard", &json!(null))
            .await
            .0,
        405
    );
    assert_eq!(
        send_with_key(&gateway, "GET", "/dashboard/nothing", &json!(null))
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn requests_of_foreign_pages_are_refused() {
    let gateway = gateway(Config {
        trusted_networks: "127.0.0.0/8".parse().unwrap(),
        ..with_key()
    });
    for (host, origin, allowed) in [
        ("localhost:4000", None, true),
        ("127.0.0.1:4000", Some("http://127.0.0.1:4000"), true),
        ("[::1]:4000", None, true),
        ("localhost:4000", Some("http://localhost:3000"), false),
        ("rebound.example:4000", None, false),
        ("rebound.example", Some("http://rebound.example"), false),
        ("localhost.example", None, false),
        ("localhost:4000", Some("null"), false),
    ] {
        let request = AppRequest::new("POST", "/dashboard/emit-event")
            .with_body(json!({"type": "a"}).to_string())
            .with_header("host", host);
        let request = origin.iter().fold(request, |request, origin| {
            request.with_header("origin", origin)
        });
        let (status, _) = send_request(&gateway, with_peer(request, "127.0.0.1")).await;
        assert_eq!(status, if allowed { 200 } else { 401 }, "{host} {origin:?}");
    }
}

#[tokio::test]
async fn requests_need_a_key_or_a_trusted_address() {
    let open = gateway(Config {
        trusted_networks: "10.0.0.0/8".parse().unwrap(),
        ..with_key()
    });
    let event = || json!({"type": "a"}).to_string();
    let post = || AppRequest::new("POST", "/dashboard/emit-event").with_body(event());
    let get = || AppRequest::new("GET", "/dashboard");
    for (peer, header, allowed) in [
        ("8.8.8.8", None, false),
        ("8.8.8.8", Some(("x-api-key", KEY)), true),
        (
            "8.8.8.8",
            Some(("authorization", "Bearer a key of the tests")),
            true,
        ),
        ("8.8.8.8", Some(("x-api-key", "a key of the test")), false),
        ("8.8.8.8", Some(("authorization", "Token anything")), false),
        // A set key counts on this machine as well: a proxy here need not name its clients.
        ("127.0.0.1", None, false),
        ("[::1]", None, false),
        ("127.0.0.1", Some(("x-api-key", KEY)), true),
        ("10.1.2.3", None, true),
        ("10.1.2.3", Some(("x-api-key", KEY)), true),
        ("10.1.2.3", Some(("x-api-key", "a key of the test")), false),
        ("10.1.2.3", Some(("x-api-key", "")), false),
        ("10.1.2.3", Some(("authorization", "Bearer x")), false),
        ("10.1.2.3", Some(("x-forwarded-for", "8.8.8.8")), false),
        ("10.1.2.3", Some(("origin", "https://evil.example")), false),
    ] {
        for request in [post(), get()] {
            let request = header.iter().fold(request, |request, (name, value)| {
                request.with_header(name, value)
            });
            let (status, _) = send_request(&open, with_peer(request, peer)).await;
            assert_eq!(status, if allowed { 200 } else { 401 }, "{peer} {header:?}");
        }
    }
    let (status, _) = send_request(&open, post()).await;
    assert_eq!(status, 401, "the peer address is unknown");
}

/// A client's own event or an event in one of its rooms counts as activity. Without either for an
/// hour, the periodic check and the dashboard's button both disconnect the client.
#[tokio::test]
async fn client_inactive_for_an_hour_is_disconnected() {
    let gateway = gateway(with_key());
    let connect = |id: &str, socket| {
        let (mut member, mailbox) = gateway.rooms.connect(ClientVersion::V1, socket).unwrap();
        member.identify(GatewayUser {
            id: id.into(),
            role: Role::Cliente,
        });
        (member, mailbox)
    };
    let ((_silent, mut left), (busy, mut stays)) = (connect("7", "a"), connect("8", "b"));
    while left.try_recv().is_some() || stays.try_recv().is_some() {}
    assert_eq!(disconnect_inactive(&gateway), 0);
    let clock = &gateway.rooms.clock;
    clock.set(clock.now() + Duration::from_secs(61 * 60));
    busy.record_activity();
    assert_eq!(disconnect_inactive(&gateway), 1);
    assert!(matches!(
        left.try_recv(),
        Some(Err(DisconnectReason::Kicked("inactive")))
    ));
    assert!(stays.try_recv().is_none());
    let (_, clients) = send_with_key(&gateway, "GET", "/dashboard/clients", &json!(null)).await;
    let users: Vec<_> = clients
        .as_array()
        .unwrap()
        .iter()
        .map(|client| client["userId"].as_str().unwrap())
        .collect();
    assert_eq!(users, ["8"]);
}

#[test]
fn every_route_of_both_versions_is_described() {
    let openapi = serde_json::from_str(crate::OPENAPI).unwrap();
    let router = router(gateway(with_key()));
    assert_eq!(router.undocumented_routes(&openapi), [""; 0]);
}
