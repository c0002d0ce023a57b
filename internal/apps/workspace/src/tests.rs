//! Tests of the app without sockets: connections on a simulated shard, with the real event bus and
//! real tokens.

mod authentication;
mod contract;
mod model;
mod routes;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::config::Config;
use crate::shared::{NAME, WorkspaceShared};
use crate::upgrade::WorkspaceUpgrade;
use latido_app_kit::{ApiKeys, Router};
use latido_auth::{Secret, Verifier, VerifierConfig};
use latido_base::clock::Clock;
use latido_event_bus::{ConnectionSlot, Delivery, EventQueue};
use latido_http::{AppRequest, AppResponse, HttpApp, WebSocketApp};
use latido_session::SessionLimits;
use latido_shard::{Action, Actions, ClientMessage, HandlerContext, ProtocolHandler, Timestamp};
use latido_telemetry::Metrics;

const SECRET: &str = "a secret of more than thirty-two bytes";
const KEY: &str = "a publisher's key";

/// Signs a token in the way the Node server does.
fn token(claims: &Value) -> String {
    let mut claims = claims.clone();
    claims["exp"] = json!(Clock::system().unix_s() + 3_600);
    jsonwebtoken::encode(
        &Header::default(),
        &claims,
        &EncodingKey::from_secret(SECRET.as_bytes()),
    )
    .unwrap()
}

/// Signs a token of a user in some workspaces.
fn member_token(user: &str, workspaces: &[&str]) -> String {
    let workspaces: Vec<_> = workspaces
        .iter()
        .map(|id| json!({"workspaceId": id, "role": "admin"}))
        .collect();
    token(&json!({"userId": user, "workspaces": workspaces}))
}

/// A simulated client with the frames that it received.
#[derive(Default)]
struct SimulatedClient {
    /// The connection's handler. `None` once the connection is closed.
    handler: Option<Box<dyn ProtocolHandler>>,
    received: Vec<String>,
    closed: Option<u16>,
    /// The texts that the handler forwarded to the native session.
    native_frames: Vec<String>,
    native_users: Vec<String>,
}

/// A simulated shard and the app that it serves.
struct WorkspaceWorld {
    shared: Arc<WorkspaceShared>,
    upgrade: WorkspaceUpgrade,
    routes: Router<WorkspaceShared>,
    event_queue: EventQueue,
    clients: HashMap<u32, SimulatedClient>,
    next_slot: u32,
}

impl WorkspaceWorld {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let keys = VerifierConfig {
            secrets: vec![Secret::new(SECRET)],
            ..VerifierConfig::default()
        };
        let clock = Clock::system();
        let verifier = Arc::new(Verifier::new(&keys, clock.clone()).unwrap());
        let config = Config {
            keys: ApiKeys::parse(&Secret::new(KEY)).unwrap(),
            ..config
        };
        let shared = WorkspaceShared::new(
            config,
            verifier,
            SessionLimits::default(),
            Metrics::new().app(NAME),
            clock,
        );
        Self {
            upgrade: WorkspaceUpgrade(Arc::clone(&shared)),
            routes: crate::routes::router(Arc::clone(&shared), true),
            shared,
            event_queue: EventQueue::new(|| {}),
            clients: HashMap::new(),
            next_slot: 0,
        }
    }

    /// Opens a connection to `/ws`, with or without a query string.
    fn connect(&mut self, query: &str) -> Result<u32, AppResponse> {
        let spec = self.upgrade.upgrade_now(&format!("/ws{query}"))?;
        let slot = self.next_slot;
        self.next_slot += 1;
        let context = HandlerContext {
            queue: self.event_queue.clone(),
            connection_slot: ConnectionSlot {
                index: slot,
                generation: 1,
            },
        };
        let handler = Some((spec.factory)(context));
        self.clients.insert(
            slot,
            SimulatedClient {
                handler,
                ..SimulatedClient::default()
            },
        );
        Ok(slot)
    }

    fn disconnect(&mut self, client: u32) {
        self.clients.get_mut(&client).unwrap().handler = None;
    }

    fn send(&mut self, client: u32, text: &str) {
        self.call_handler(client, |handler, actions| {
            handler.on_message(ClientMessage::Text(text), now(), actions)
        });
    }

    fn auth(&mut self, client: u32, workspace: &Value, user: &Value, token: Option<String>) {
        let mut frame = json!({"type": "auth", "workspace_id": workspace, "user_id": user});
        if let Some(token) = token {
            frame["token"] = json!(token);
        }
        self.send(client, &frame.to_string());
    }

    fn call_handler(
        &mut self,
        number: u32,
        call: impl FnOnce(&mut dyn ProtocolHandler, &mut Actions<'_>),
    ) {
        let client = self.clients.get_mut(&number).unwrap();
        let Some(handler) = &mut client.handler else {
            return;
        };
        let mut spawn = |_| false;
        let mut actions = Actions::new(&mut spawn);
        call(handler.as_mut(), &mut actions);
        for action in actions.into_actions() {
            if client.handler.is_none() {
                break;
            }
            match action {
                Action::Send(frame) => client.received.push(frame.payload().to_owned()),
                Action::SendAfterEvents(frame) if self.event_queue.is_empty() => {
                    client.received.push(frame.payload().to_owned())
                }
                Action::SendAfterEvents(frame) => self.event_queue.push_reply(
                    ConnectionSlot {
                        index: number,
                        generation: 1,
                    },
                    frame,
                ),
                Action::ForwardNative(text) => client.native_frames.push(text),
                Action::AttachNativeSession(principal) => client
                    .native_users
                    .push(principal.user().as_str().to_owned()),
                Action::WakeAfter(_) | Action::LimitMessageBytes(_) => {}
                Action::Close(code, _) => {
                    client.closed = Some(code);
                    client.handler = None;
                }
            }
        }
    }

    /// Delivers the pending events of the shard's queue to all clients.
    fn deliver(&mut self) {
        for delivery in self.event_queue.drain().deliveries {
            for address in delivery.recipients() {
                let client = self.clients.get_mut(&address.index).unwrap();
                let Some(handler) = &client.handler else {
                    continue;
                };
                client.received.push(match &delivery {
                    Delivery::Event { event, .. } => handler.encode(event).payload().to_owned(),
                    Delivery::Reply { frame, .. } => frame.payload().to_owned(),
                    Delivery::Disconnect { .. } => panic!("no connection is ended in these tests"),
                });
            }
        }
    }

    /// Returns the frames that a client received since the last call.
    fn take_received(&mut self, client: u32) -> Vec<String> {
        self.deliver();
        std::mem::take(&mut self.clients.get_mut(&client).unwrap().received)
    }

    fn close_code(&self, client: u32) -> Option<u16> {
        self.clients[&client].closed
    }

    /// Sends a POST request with the publisher's key.
    fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.request(
            AppRequest::new("POST", path)
                .with_header("X-API-Key", KEY)
                .with_body(body.to_owned()),
        )
    }

    fn users(&self, workspace: &str) -> String {
        let request = AppRequest::new("GET", &format!("/api/workspaces/{workspace}/users"));
        self.request(request.with_header("X-API-Key", KEY)).1
    }

    /// Sends a request. A refusal by `authorize`, before the body is read, is the response.
    fn request(&self, request: AppRequest) -> (u16, String) {
        let answer = match self.routes.authorize(&request) {
            Ok(handle) => handle(request).now_or_never().expect("at once"),
            Err(response) => response,
        };
        (
            answer.status,
            String::from_utf8(answer.body.to_vec()).unwrap(),
        )
    }
}

impl WorkspaceUpgrade {
    fn upgrade_now(&self, path: &str) -> Result<latido_http::HandlerSpec, AppResponse> {
        WebSocketApp::upgrade(self, AppRequest::new("GET", path))
            .now_or_never()
            .expect("at once")
    }
}

fn now() -> Timestamp {
    Timestamp {
        unix_s: Clock::system().unix_s(),
    }
}
