//! The HTTP routes of the dashboard and of publishers: `/dashboard…` for version 1,
//! `/api/dashboard…` for version 2.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use tracing::debug;

use crate::board;
use crate::doorkeeper::Claim;
use crate::hall::HISTORY_LENGTH;
use crate::who::{Role, id_text};
use crate::words::{self, dashboard_metrics};
use crate::{Gateway, tend};
use latido_http::{AppResponse, AppRequest, HttpApp};

const BODY_LIMIT: usize = 256 * 1024;
const PAGE: &str = include_str!("assets/dashboard.html");
/// The headers that a proxy adds. With one of them, the peer address is the proxy's, not the
/// client's.
const PROXIED: [&str; 3] = ["x-forwarded-for", "forwarded", "x-real-ip"];

/// The HTTP routes of the gateway.
pub(super) struct Dashboard(pub(super) Arc<Gateway>);

/// The version of a request, which the prefix of its path determines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    First,
    Second,
}

/// Splits a path into the version of its prefix and the rest.
fn place(path: &str) -> Option<(Prefix, &str)> {
    let (prefix, rest) = match path.strip_prefix("/api/dashboard") {
        Some(rest) => (Prefix::Second, rest),
        None => (Prefix::First, path.strip_prefix("/dashboard")?),
    };
    match rest.strip_prefix('/') {
        Some(rest) => Some((prefix, rest.trim_end_matches('/'))),
        None => rest.is_empty().then_some((prefix, "")),
    }
}

impl HttpApp for Dashboard {
    fn matches(&self, path: &str) -> bool {
        matches!(path, "/dashboard.html" | "/api/health") || place(path).is_some()
    }

    fn body_limit(&self) -> usize {
        BODY_LIMIT
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
            match (request.path(), place(request.path())) {
                ("/dashboard.html", _) => page(&request),
                ("/api/health", _) => only("GET, HEAD", &request, || health(&gateway)),
                (_, Some((prefix, rest))) => gateway.dashboard(prefix, rest, &request).await,
                _ => not_found(),
            }
        })
    }

    fn error_response(&self, status: u16, _code: &'static str, message: &'static str) -> AppResponse {
        failed(status, message)
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
        let is_direct = PROXIED
            .iter()
            .all(|name| request.header_bytes(name).is_none());
        let Some(peer) = request
            .client
            .filter(|_| is_direct && is_no_strangers_page(request))
        else {
            return false;
        };
        self.is_near(peer.ip(), request)
    }

    fn is_near(&self, address: IpAddr, request: &AppRequest) -> bool {
        // Any DNS name can point to this address (DNS rebinding), and a browser on this machine
        // would follow it; so the Host header must be a plain address or `localhost`.
        let is_local = address.to_canonical().is_loopback()
            && request.header("host").is_none_or(is_plain_host);
        is_local
            || self
                .config
                .trusted
                .iter()
                .any(|network| network.has(address))
    }

    /// Returns `true` if a request may read: it is trusted, or it has an administrator's token.
    async fn may_read(&self, request: &AppRequest) -> bool {
        if self.is_trusted(request) {
            return true;
        }
        let token = request
            .header("authorization")
            .and_then(|value| value.strip_prefix("Token "));
        let Some(token) = token.filter(|_| !self.config.trusts_clients) else {
            return false;
        };
        let claim = Claim {
            id: None,
            role: Some(Role::Admin),
        };
        self.door
            .admit(token.trim(), &claim)
            .await
            .is_ok_and(|user| user.role == Role::Admin)
    }

    async fn dashboard(&self, prefix: Prefix, rest: &str, request: &AppRequest) -> AppResponse {
        match rest {
            "emit-event" | "notify-role" | "notify-user" | "update-dashboard" | "cleanup" => {
                if request.method() != "POST" {
                    return wrong_method("POST");
                }
                self.post(prefix, rest, &request.body)
            }
            "" | "clients" | "rooms" | "events" | "stats" | "metrics" | "api-status" | "status" => {
                if !matches!(request.method(), "GET" | "HEAD") {
                    return wrong_method("GET, HEAD");
                }
                if !self.may_read(request).await {
                    return unauthorized();
                }
                self.show(prefix, rest).await
            }
            _ => not_found(),
        }
    }

    async fn show(&self, prefix: Prefix, resource: &str) -> AppResponse {
        let service = &self.hall;
        let list = |name: &str, list: Vec<Value>| {
            if prefix == Prefix::First {
                Value::from(list)
            } else {
                json!({name: list})
            }
        };
        let body = match resource {
            "clients" => list("clients", board::clients(service)),
            "rooms" => list("rooms", board::rooms(service)),
            "events" if prefix == Prefix::Second => {
                json!({"events": board::recent(service, HISTORY_LENGTH)})
            }
            "events" => board::events(service),
            "stats" => board::stats(service),
            "metrics" => board::metrics(service),
            "api-status" | "status" => {
                board::api_status(self.door.api_state().await, service.clock.now())
            }
            _ => board::overview(service),
        };
        AppResponse::json(200, body.to_string())
    }

    fn post(&self, prefix: Prefix, resource: &str, body: &[u8]) -> AppResponse {
        if resource == "cleanup" {
            let dismissed = tend::clean_up(self);
            debug!(
                app = "gateway",
                dismissed, "inactive clients were disconnected on request"
            );
            return match prefix {
                Prefix::First => AppResponse {
                    status: 201,
                    headers: Vec::new(),
                    body: bytes::Bytes::new(),
                },
                Prefix::Second => done(prefix, "Limpieza realizada"),
            };
        }
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return failed(400, "expected a JSON object");
        };
        if !body.is_object() {
            return failed(400, "expected a JSON object");
        }
        match self.publish(resource, &body) {
            Ok((true, message)) => done(prefix, message),
            Ok((false, _)) => {
                failed(503, "the server is too busy; publish again later").with_header("retry-after", "1")
            }
            Err(message) => failed(400, message),
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
                .filter(|name| words::is_name(name))
        };
        let payload = |field: &str| body.get(field).cloned().unwrap_or_default();
        match resource {
            "emit-event" => {
                let kind = name("type").ok_or("expected type: an event's name")?;
                let data = payload("data");
                let published = if kind == "system_notification" {
                    self.hall.notify_all(&data)
                } else {
                    self.hall.happened(kind, &data, None)
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
                    self.hall.notify_role(role, event, &payload("payload")),
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
                    self.hall.notify_user(&id, event, &payload("payload")),
                    "Notificación enviada",
                ))
            }
            _ => Ok((
                self.hall
                    .tell([crate::who::SECOND], &dashboard_metrics(body), None),
                "Dashboard actualizado",
            )),
        }
    }
}

/// Returns `true` unless a page of another origin sent the request: a browser sends such requests
/// from its user's address.
fn is_no_strangers_page(request: &AppRequest) -> bool {
    let Some(origin) = request.header_bytes("origin") else {
        return true;
    };
    let own_host = request.header("host").filter(|host| is_plain_host(host));
    own_host.is_some_and(|host| {
        origin == format!("http://{host}").as_bytes()
            || origin == format!("https://{host}").as_bytes()
    })
}

/// Returns `true` for `localhost` or an IP address, with or without a port.
fn is_plain_host(host: &str) -> bool {
    let is_address = host.parse::<std::net::SocketAddr>().is_ok()
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    is_address
        || host == "localhost"
        || host
            .strip_prefix("localhost:")
            .is_some_and(|port| port.parse::<u16>().is_ok())
}

fn page(request: &AppRequest) -> AppResponse {
    only("GET, HEAD", request, || {
        let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";
        AppResponse {
            status: 200,
            headers: Vec::new(),
            body: PAGE.into(),
        }
        .with_header("content-type", "text/html; charset=utf-8")
        .with_header("content-security-policy", policy)
        .with_header("cache-control", "no-cache")
    })
}

fn health(gateway: &Gateway) -> AppResponse {
    let now = words::iso(gateway.hall.clock.now());
    let uptime = gateway.hall.started.elapsed().as_secs();
    AppResponse::json(
        200,
        json!({"status": "ok", "timestamp": now, "uptime": uptime}).to_string(),
    )
}

fn only(methods: &'static str, request: &AppRequest, answer: impl FnOnce() -> AppResponse) -> AppResponse {
    if methods.split(", ").any(|method| method == request.method()) {
        answer()
    } else {
        wrong_method(methods)
    }
}

fn done(prefix: Prefix, message: &str) -> AppResponse {
    let status = if prefix == Prefix::First { 200 } else { 202 };
    AppResponse::json(
        status,
        json!({"success": true, "message": message}).to_string(),
    )
}

fn failed(status: u16, message: &str) -> AppResponse {
    AppResponse::json(
        status,
        json!({"success": false, "message": message}).to_string(),
    )
}

fn unauthorized() -> AppResponse {
    failed(
        401,
        "expected X-API-Key, or a token of an administrator to read",
    )
    .with_header("www-authenticate", "Bearer")
}

fn not_found() -> AppResponse {
    failed(404, "nothing is here")
}

fn wrong_method(allowed: &'static str) -> AppResponse {
    failed(405, "this address has another method").with_header("allow", allowed)
}

#[cfg(test)]
#[path = "site_tests.rs"]
mod tests;
