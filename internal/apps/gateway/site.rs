//! The dashboard's addresses, and those of publishers: `/dashboard…` as the first generation knows them, `/api/dashboard…` as the second.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use tracing::debug;

use crate::apps::gateway::board;
use crate::apps::gateway::doorkeeper::Claim;
use crate::apps::gateway::hall::HISTORY_LENGTH;
use crate::apps::gateway::who::{Role, id_text};
use crate::apps::gateway::words::{self, dashboard_metrics};
use crate::apps::gateway::{Gateway, tend};
use crate::http::{Answer, Asked, Site};

const BODY_LIMIT: usize = 256 * 1024;
const PAGE: &str = include_str!("assets/dashboard.html");
/// What a proxy adds: then the peer is the proxy, whoever asked.
const PROXIED: [&str; 3] = ["x-forwarded-for", "forwarded", "x-real-ip"];

/// See the module's documentation.
pub(super) struct Dashboard(pub(super) Arc<Gateway>);

/// Which of the two asks: by the prefix of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    First,
    Second,
}

/// The rest of a path behind the prefix.
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

impl Site for Dashboard {
    fn has(&self, path: &str) -> bool {
        matches!(path, "/dashboard.html" | "/api/health") || place(path).is_some()
    }

    fn body_limit(&self) -> usize {
        BODY_LIMIT
    }

    fn admit(&self, asked: &Asked) -> Result<(), Answer> {
        // Who may read is asked of the API if need be, which takes time.
        if asked.method() != "POST" || self.0.is_trusted(asked) {
            Ok(())
        } else {
            Err(unauthorized())
        }
    }

    fn answer(&self, asked: Asked) -> BoxFuture<'static, Answer> {
        let gateway = Arc::clone(&self.0);
        Box::pin(async move {
            match (asked.path(), place(asked.path())) {
                ("/dashboard.html", _) => page(&asked),
                ("/api/health", _) => only("GET, HEAD", &asked, || health(&gateway)),
                (_, Some((prefix, rest))) => gateway.dashboard(prefix, rest, &asked).await,
                _ => not_found(),
            }
        })
    }

    fn refuse(&self, status: u16, _code: &'static str, message: &'static str) -> Answer {
        failed(status, message)
    }
}

impl Gateway {
    /// Whether a request needs no further proof: it has the key, or comes from where none is needed, and from no page in somebody's browser.
    fn is_trusted(&self, asked: &Asked) -> bool {
        if let Some(key) = &self.config.api_key {
            let bearer = asked
                .header("authorization")
                .and_then(|value| value.strip_prefix("Bearer "));
            let shown = [asked.header("x-api-key"), bearer].into_iter().flatten();
            if shown
                .fold(subtle::Choice::from(0), |any, shown| {
                    any | u8::from(key.matches(shown.as_bytes())).ct_eq(&1)
                })
                .into()
            {
                return true;
            }
        }
        let is_direct = PROXIED
            .iter()
            .all(|name| asked.header_bytes(name).is_none());
        let Some(peer) = asked
            .peer
            .filter(|_| is_direct && is_no_strangers_page(asked))
        else {
            return false;
        };
        self.is_near(peer.ip(), asked)
    }

    fn is_near(&self, address: IpAddr, asked: &Asked) -> bool {
        // A name that leads here may be anybody's, and a browser on this machine would follow it.
        let is_here =
            address.to_canonical().is_loopback() && asked.header("host").is_none_or(is_plain_host);
        is_here
            || self
                .config
                .trusted
                .iter()
                .any(|network| network.has(address))
    }

    /// Whether it may read: as above, or with an administrator's token.
    async fn may_read(&self, asked: &Asked) -> bool {
        if self.is_trusted(asked) {
            return true;
        }
        let token = asked
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
            .is_ok_and(|who| who.role == Role::Admin)
    }

    async fn dashboard(&self, prefix: Prefix, rest: &str, asked: &Asked) -> Answer {
        match rest {
            "emit-event" | "notify-role" | "notify-user" | "update-dashboard" | "cleanup" => {
                if asked.method() != "POST" {
                    return wrong_method("POST");
                }
                self.post(prefix, rest, &asked.body)
            }
            "" | "clients" | "rooms" | "events" | "stats" | "metrics" | "api-status" | "status" => {
                if !matches!(asked.method(), "GET" | "HEAD") {
                    return wrong_method("GET, HEAD");
                }
                if !self.may_read(asked).await {
                    return unauthorized();
                }
                self.show(prefix, rest).await
            }
            _ => not_found(),
        }
    }

    async fn show(&self, prefix: Prefix, what: &str) -> Answer {
        let hall = &self.hall;
        let list = |name: &str, list: Vec<Value>| {
            if prefix == Prefix::First {
                Value::from(list)
            } else {
                json!({name: list})
            }
        };
        let body = match what {
            "clients" => list("clients", board::clients(hall)),
            "rooms" => list("rooms", board::rooms(hall)),
            "events" if prefix == Prefix::Second => {
                json!({"events": board::recent(hall, HISTORY_LENGTH)})
            }
            "events" => board::events(hall),
            "stats" => board::stats(hall),
            "metrics" => board::metrics(hall),
            "api-status" | "status" => {
                board::api_status(self.door.api_state().await, hall.clock.now())
            }
            _ => board::overview(hall),
        };
        Answer::json(200, body.to_string())
    }

    fn post(&self, prefix: Prefix, what: &str, body: &[u8]) -> Answer {
        if what == "cleanup" {
            let dismissed = tend::clean_up(self);
            debug!(app = "gateway", dismissed, "cleaned up, as was asked for");
            return match prefix {
                Prefix::First => Answer {
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
        match self.publish(what, &body) {
            Ok((true, message)) => done(prefix, message),
            Ok((false, _)) => {
                failed(503, "the server is too busy; publish again later").with("retry-after", "1")
            }
            Err(message) => failed(400, message),
        }
    }

    /// Whether it was published, and what to say then. An error says what was expected.
    fn publish(&self, what: &str, body: &Value) -> Result<(bool, &'static str), &'static str> {
        let name = |field: &str| {
            body.get(field)
                .and_then(Value::as_str)
                .filter(|name| words::is_name(name))
        };
        let payload = |field: &str| body.get(field).cloned().unwrap_or_default();
        match what {
            "emit-event" => {
                let kind = name("type").ok_or("expected type: an event's name")?;
                let data = payload("data");
                let told = if kind == "system_notification" {
                    self.hall.notify_all(&data)
                } else {
                    self.hall.happened(kind, &data, None)
                };
                Ok((told, "Evento emitido"))
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
                self.hall.tell(
                    [crate::apps::gateway::who::SECOND],
                    &dashboard_metrics(body),
                    None,
                ),
                "Dashboard actualizado",
            )),
        }
    }
}

/// Pages in somebody's browser ask with that somebody's address: only our own may.
fn is_no_strangers_page(asked: &Asked) -> bool {
    let Some(origin) = asked.header_bytes("origin") else {
        return true;
    };
    let ours = asked.header("host").filter(|host| is_plain_host(host));
    ours.is_some_and(|host| {
        origin == format!("http://{host}").as_bytes()
            || origin == format!("https://{host}").as_bytes()
    })
}

/// `localhost` or an address, with a port or without.
fn is_plain_host(host: &str) -> bool {
    let bare = host.parse::<std::net::SocketAddr>().is_ok()
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    bare || host == "localhost"
        || host
            .strip_prefix("localhost:")
            .is_some_and(|port| port.parse::<u16>().is_ok())
}

fn page(asked: &Asked) -> Answer {
    only("GET, HEAD", asked, || {
        let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";
        Answer {
            status: 200,
            headers: Vec::new(),
            body: PAGE.into(),
        }
        .with("content-type", "text/html; charset=utf-8")
        .with("content-security-policy", policy)
        .with("cache-control", "no-cache")
    })
}

fn health(gateway: &Gateway) -> Answer {
    let now = words::iso(gateway.hall.clock.now());
    let uptime = gateway.hall.started.elapsed().as_secs();
    Answer::json(
        200,
        json!({"status": "ok", "timestamp": now, "uptime": uptime}).to_string(),
    )
}

fn only(methods: &'static str, asked: &Asked, answer: impl FnOnce() -> Answer) -> Answer {
    if methods.split(", ").any(|method| method == asked.method()) {
        answer()
    } else {
        wrong_method(methods)
    }
}

fn done(prefix: Prefix, message: &str) -> Answer {
    let status = if prefix == Prefix::First { 200 } else { 202 };
    Answer::json(
        status,
        json!({"success": true, "message": message}).to_string(),
    )
}

fn failed(status: u16, message: &str) -> Answer {
    Answer::json(
        status,
        json!({"success": false, "message": message}).to_string(),
    )
}

fn unauthorized() -> Answer {
    failed(
        401,
        "expected X-API-Key, or a token of an administrator to read",
    )
    .with("www-authenticate", "Bearer")
}

fn not_found() -> Answer {
    failed(404, "nothing is here")
}

fn wrong_method(allowed: &'static str) -> Answer {
    failed(405, "this address has another method").with("allow", allowed)
}

#[cfg(test)]
#[path = "site_tests.rs"]
mod tests;
