//! The HTTP routes of the dashboard and of publishers: `/dashboard…` for version 1,
//! `/api/dashboard…` for version 2.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use tracing::debug;

use crate::authenticator::IdentityClaim;
use crate::dashboard_views;
use crate::rooms::HISTORY_LENGTH;
use crate::user::{Role, id_text};
use crate::wire::{self, dashboard_metrics_event};
use crate::{Gateway, maintenance};
use latido_base::time_format::iso_millis;
use latido_http::{AppRequest, AppResponse, HttpApp};
use latido_net::{Host, is_loopback};

const MAX_BODY_BYTES: usize = 256 * 1024;
const PAGE_HTML: &str = include_str!("assets/dashboard.html");
/// The headers that a proxy adds. With one of them, the peer address is the proxy's, not the
/// client's.
const PROXY_HEADERS: [&str; 3] = ["x-forwarded-for", "forwarded", "x-real-ip"];

/// The HTTP routes of the gateway.
pub(super) struct GatewayRoutes(pub(super) Arc<Gateway>);

/// The version of a request, which the prefix of its path determines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathVersion {
    V1,
    V2,
}

/// Splits a path into the version of its prefix and the rest.
fn parse_path(path: &str) -> Option<(PathVersion, &str)> {
    let (prefix, rest) = match path.strip_prefix("/api/dashboard") {
        Some(rest) => (PathVersion::V2, rest),
        None => (PathVersion::V1, path.strip_prefix("/dashboard")?),
    };
    match rest.strip_prefix('/') {
        Some(rest) => Some((prefix, rest.trim_end_matches('/'))),
        None => rest.is_empty().then_some((prefix, "")),
    }
}

impl HttpApp for GatewayRoutes {
    fn matches(&self, path: &str) -> bool {
        matches!(path, "/dashboard.html" | "/api/health") || parse_path(path).is_some()
    }

    fn body_limit(&self) -> usize {
        MAX_BODY_BYTES
    }

    fn authorize(&self, request: &AppRequest) -> Result<(), AppResponse> {
        // Readers may need an API request to be authorized, which `handle` does asynchronously.
        if request.method() != "POST" || self.0.is_trusted(request) {
            Ok(())
        } else {
            Err(unauthorized())
        }
    }

    fn handle(&self, request: AppRequest) -> BoxFuture<'static, AppResponse> {
        let gateway = Arc::clone(&self.0);
        Box::pin(async move {
            match (request.path(), parse_path(request.path())) {
                ("/dashboard.html", _) => dashboard_page(&request),
                ("/api/health", _) => {
                    require_method("GET, HEAD", &request, || health_response(&gateway))
                }
                (_, Some((prefix, rest))) => gateway.handle_dashboard(prefix, rest, &request).await,
                _ => not_found(),
            }
        })
    }

    fn error_response(
        &self,
        status: u16,
        _code: &'static str,
        message: &'static str,
    ) -> AppResponse {
        error_response(status, message)
    }
}

impl Gateway {
    /// Returns `true` if a request needs no further authorization: it has the key, or it comes
    /// directly from a trusted address and not from a foreign page in a browser.
    fn is_trusted(&self, request: &AppRequest) -> bool {
        if let Some(key) = &self.config.api_key {
            let bearer = request
                .header("authorization")
                .and_then(|value| value.strip_prefix("Bearer "));
            let presented = [request.header("x-api-key"), bearer].into_iter().flatten();
            if presented
                .fold(subtle::Choice::from(0), |any, key_text| {
                    any | u8::from(key.matches(key_text.as_bytes())).ct_eq(&1)
                })
                .into()
            {
                return true;
            }
        }
        let is_direct = PROXY_HEADERS
            .iter()
            .all(|name| request.header_bytes(name).is_none());
        let Some(peer) = request
            .client
            .filter(|_| is_direct && is_same_origin(request))
        else {
            return false;
        };
        self.is_trusted_address(peer.ip(), request)
    }

    fn is_trusted_address(&self, address: IpAddr, request: &AppRequest) -> bool {
        // Any DNS name can point to this address (DNS rebinding), and a browser on this machine
        // would follow it; so the Host header must be a plain address or `localhost`.
        let is_local =
            is_loopback(address) && request.header("host").is_none_or(is_localhost_or_ip);
        is_local || self.config.trusted_networks.contains(address)
    }

    /// Returns `true` if a request may read: it is trusted, or it has an administrator's token.
    async fn can_read(&self, request: &AppRequest) -> bool {
        if self.is_trusted(request) {
            return true;
        }
        let token = request
            .header("authorization")
            .and_then(|value| value.strip_prefix("Token "));
        let Some(token) = token.filter(|_| !self.config.trusts_clients) else {
            return false;
        };
        let claim = IdentityClaim {
            id: None,
            role: Some(Role::Admin),
        };
        self.authenticator
            .authenticate(token.trim(), &claim)
            .await
            .is_ok_and(|user| user.role == Role::Admin)
    }

    async fn handle_dashboard(
        &self,
        prefix: PathVersion,
        rest: &str,
        request: &AppRequest,
    ) -> AppResponse {
        match rest {
            "emit-event" | "notify-role" | "notify-user" | "update-dashboard" | "cleanup" => {
                if request.method() != "POST" {
                    return method_not_allowed("POST");
                }
                self.handle_post(prefix, rest, &request.body)
            }
            "" | "clients" | "rooms" | "events" | "stats" | "metrics" | "api-status" | "status" => {
                if !matches!(request.method(), "GET" | "HEAD") {
                    return method_not_allowed("GET, HEAD");
                }
                if !self.can_read(request).await {
                    return unauthorized();
                }
                self.handle_get(prefix, rest).await
            }
            _ => not_found(),
        }
    }

    async fn handle_get(&self, prefix: PathVersion, resource: &str) -> AppResponse {
        let service = &self.rooms;
        let list = |name: &str, list: Vec<Value>| {
            if prefix == PathVersion::V1 {
                Value::from(list)
            } else {
                json!({name: list})
            }
        };
        let body = match resource {
            "clients" => list("clients", dashboard_views::clients_json(service)),
            "rooms" => list("rooms", dashboard_views::rooms_json(service)),
            "events" if prefix == PathVersion::V2 => {
                json!({"events": dashboard_views::recent_events(service, HISTORY_LENGTH)})
            }
            "events" => dashboard_views::recent_events_v1_json(service),
            "stats" => dashboard_views::stats_json(service),
            "metrics" => dashboard_views::metrics_json(service),
            "api-status" | "status" => dashboard_views::api_status_json(
                self.authenticator.api_state().await,
                service.clock.now(),
            ),
            _ => dashboard_views::overview_json(service),
        };
        AppResponse::json(200, body.to_string())
    }

    fn handle_post(&self, prefix: PathVersion, resource: &str, body: &[u8]) -> AppResponse {
        if resource == "cleanup" {
            let dismissed = maintenance::disconnect_inactive(self);
            debug!(
                app = "gateway",
                dismissed, "inactive clients were disconnected on request"
            );
            return match prefix {
                PathVersion::V1 => AppResponse {
                    status: 201,
                    headers: Vec::new(),
                    body: bytes::Bytes::new(),
                },
                PathVersion::V2 => success_response(prefix, "Limpieza realizada"),
            };
        }
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return error_response(400, "expected a JSON object");
        };
        if !body.is_object() {
            return error_response(400, "expected a JSON object");
        }
        match self.publish(resource, &body) {
            Ok((true, message)) => success_response(prefix, message),
            Ok((false, _)) => error_response(503, "the server is too busy; publish again later")
                .with_header("retry-after", "1"),
            Err(message) => error_response(400, message),
        }
    }

    /// Publishes a request. Returns `true` with the message of the response if it was published,
    /// `false` if the server is too busy.
    ///
    /// # Errors
    /// Returns a message with the expected field.
    fn publish(&self, resource: &str, body: &Value) -> Result<(bool, &'static str), &'static str> {
        let name = |field: &str| {
            body.get(field)
                .and_then(Value::as_str)
                .filter(|name| wire::is_event_name(name))
        };
        let payload = |field: &str| body.get(field).cloned().unwrap_or_default();
        match resource {
            "emit-event" => {
                let kind = name("type").ok_or("expected type: an event's name")?;
                let data = payload("data");
                let published = if kind == "system_notification" {
                    self.rooms.notify_all(&data)
                } else {
                    self.rooms.publish_event(kind, &data, None)
                };
                Ok((published, "Evento emitido"))
            }
            "notify-role" => {
                let role = body
                    .get("role")
                    .and_then(Value::as_str)
                    .and_then(Role::parse);
                let role = role.ok_or("expected role: cliente, proveedor or admin")?;
                let event = name("event").ok_or("expected event: an event's name")?;
                Ok((
                    self.rooms.notify_role(role, event, &payload("payload")),
                    "Notificación enviada",
                ))
            }
            "notify-user" => {
                let id = body
                    .get("userId")
                    .or_else(|| body.get("user_id"))
                    .and_then(id_text)
                    .ok_or("expected userId")?;
                let event = name("event").ok_or("expected event: an event's name")?;
                Ok((
                    self.rooms.notify_user(&id, event, &payload("payload")),
                    "Notificación enviada",
                ))
            }
            _ => Ok((
                self.rooms.broadcast(
                    [crate::user::ALL_V2_ROOM],
                    &dashboard_metrics_event(body),
                    None,
                ),
                "Dashboard actualizado",
            )),
        }
    }
}

/// Returns `true` unless a page of another origin sent the request: a browser sends such requests
/// from its user's address.
fn is_same_origin(request: &AppRequest) -> bool {
    let Some(origin) = request.header_bytes("origin") else {
        return true;
    };
    let own_host = request
        .header("host")
        .filter(|host| is_localhost_or_ip(host));
    own_host.is_some_and(|host| {
        origin == format!("http://{host}").as_bytes()
            || origin == format!("https://{host}").as_bytes()
    })
}

/// Returns `true` for `localhost` or an IP address, with or without a port.
fn is_localhost_or_ip(host: &str) -> bool {
    Host::parse(host).is_some_and(Host::is_literal)
}

fn dashboard_page(request: &AppRequest) -> AppResponse {
    require_method("GET, HEAD", request, || {
        let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";
        AppResponse {
            status: 200,
            headers: Vec::new(),
            body: PAGE_HTML.into(),
        }
        .with_header("content-type", "text/html; charset=utf-8")
        .with_header("content-security-policy", policy)
        .with_header("cache-control", "no-cache")
    })
}

fn health_response(gateway: &Gateway) -> AppResponse {
    let now = iso_millis(gateway.rooms.clock.now());
    let uptime = gateway.rooms.started.elapsed().as_secs();
    AppResponse::json(
        200,
        json!({"status": "ok", "timestamp": now, "uptime": uptime}).to_string(),
    )
}

fn require_method(
    methods: &'static str,
    request: &AppRequest,
    answer: impl FnOnce() -> AppResponse,
) -> AppResponse {
    if methods.split(", ").any(|method| method == request.method()) {
        answer()
    } else {
        method_not_allowed(methods)
    }
}

fn success_response(prefix: PathVersion, message: &str) -> AppResponse {
    let status = if prefix == PathVersion::V1 { 200 } else { 202 };
    AppResponse::json(
        status,
        json!({"success": true, "message": message}).to_string(),
    )
}

fn error_response(status: u16, message: &str) -> AppResponse {
    AppResponse::json(
        status,
        json!({"success": false, "message": message}).to_string(),
    )
}

fn unauthorized() -> AppResponse {
    error_response(
        401,
        "expected X-API-Key, or a token of an administrator to read",
    )
    .with_header("www-authenticate", "Bearer")
}

fn not_found() -> AppResponse {
    error_response(404, "nothing is here")
}

fn method_not_allowed(allowed: &'static str) -> AppResponse {
    error_response(405, "this address has another method").with_header("allow", allowed)
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
