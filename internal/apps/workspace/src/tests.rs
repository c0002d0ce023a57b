//! Tests of the app without sockets: connections on a simulated shard, with the real event bus and
//! real tokens.

mod model;
mod scenes;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::pier::Entrance;
use crate::site::Addresses;
use crate::{Config, NAME, Shared};
use latido_auth::{Secret, Verifier, VerifierConfig};
use latido_base::clock::Clock;
use latido_event_bus::{ConnectionSlot, Delivery, EventQueue};
use latido_http::{Answer, Asked, Pier, Site};
use latido_session::SessionLimits;
use latido_shard::{Action, Actions, HandlerContext, ProtocolHandler, ClientMessage, Timestamp};
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
struct Client {
    /// The connection's handler. `None` once the connection is closed.
    guest: Option<Box<dyn ProtocolHandler>>,
    told: Vec<String>,
    closed: Option<u16>,
    /// The texts that the handler forwarded to the native session.
    native: Vec<String>,
    entered: Vec<String>,
}

/// A simulated shard and the app that it serves.
struct World {
    shared: Arc<Shared>,
    entrance: Entrance,
    site: Addresses,
    port: EventQueue,
    clients: HashMap<u32, Client>,
    next: u32,
}

impl World {
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
            keys: Config::parse_keys(&Secret::new(KEY)).unwrap(),
            ..config
        };
        let shared = Shared::new(
            config,
            verifier,
            SessionLimits::default(),
            Metrics::new().app(NAME),
            clock,
        );
        Self {
            entrance: Entrance(Arc::clone(&shared)),
            site: Addresses::new(Arc::clone(&shared), true),
            shared,
            port: EventQueue::new(|| {}),
            clients: HashMap::new(),
            next: 0,
        }
    }

    /// Opens a connection to `/ws`, with or without a query string.
    fn connect(&mut self, query: &str) -> Result<u32, Answer> {
        let spec = self.entrance.board_now(&format!("/ws{query}"))?;
        let slot = self.next;
        self.next += 1;
        let context = HandlerContext {
            queue: self.port.clone(),
            connection_slot: ConnectionSlot {
                index: slot,
                generation: 1,
            },
        };
        let handler = Some((spec.factory)(context));
        self.clients.insert(
            slot,
            Client {
                guest: handler,
                ..Client::default()
            },
        );
        Ok(slot)
    }

    fn disconnect(&mut self, client: u32) {
        self.clients.get_mut(&client).unwrap().guest = None;
    }

    fn say(&mut self, client: u32, text: &str) {
        self.call(client, |handler, actions| {
            handler.on_message(ClientMessage::Text(text), now(), actions)
        });
    }

    fn auth(&mut self, client: u32, workspace: &Value, user: &Value, token: Option<String>) {
        let mut frame = json!({"type": "auth", "workspace_id": workspace, "user_id": user});
        if let Some(token) = token {
            frame["token"] = json!(token);
        }
        self.say(client, &frame.to_string());
    }

    fn call(&mut self, number: u32, call: impl FnOnce(&mut dyn ProtocolHandler, &mut Actions<'_>)) {
        let client = self.clients.get_mut(&number).unwrap();
        let Some(handler) = &mut client.guest else {
            return;
        };
        let mut spawn = |_| false;
        let mut actions = Actions::new(&mut spawn);
        call(handler.as_mut(), &mut actions);
        for action in actions.into_actions() {
            if client.guest.is_none() {
                break;
            }
            match action {
                Action::Send(frame) => client.told.push(frame.payload().to_owned()),
                Action::SendAfterEvents(frame) if self.port.is_empty() => {
                    client.told.push(frame.payload().to_owned())
                }
                Action::SendAfterEvents(frame) => self.port.push_reply(
                    ConnectionSlot {
                        index: number,
                        generation: 1,
                    },
                    frame,
                ),
                Action::ForwardNative(text) => client.native.push(text),
                Action::AttachNativeSession(principal) => client.entered.push(principal.user().as_str().to_owned()),
                Action::Close(code, _) => {
                    client.closed = Some(code);
                    client.guest = None;
                }
            }
        }
    }

    /// Delivers the pending events of the shard's queue to all clients.
    fn deliver(&mut self) {
        for delivery in self.port.drain().deliveries {
            for address in delivery.recipients() {
                let client = self.clients.get_mut(&address.index).unwrap();
                let Some(handler) = &client.guest else {
                    continue;
                };
                client.told.push(match &delivery {
                    Delivery::Event { event, .. } => handler.encode(event).payload().to_owned(),
                    Delivery::Reply { frame, .. } => frame.payload().to_owned(),
                    Delivery::Disconnect { .. } => panic!("no connection is ended in these tests"),
                });
            }
        }
    }

    /// Returns the frames that a client received since the last call.
    fn told(&mut self, client: u32) -> Vec<String> {
        self.deliver();
        std::mem::take(&mut self.clients.get_mut(&client).unwrap().told)
    }

    fn closed(&self, client: u32) -> Option<u16> {
        self.clients[&client].closed
    }

    /// Sends a POST request with the publisher's key.
    fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.ask(
            Asked::new("POST", path)
                .with_header("X-API-Key", KEY)
                .with_body(body.to_owned()),
        )
    }

    fn users(&self, workspace: &str) -> String {
        let request = Asked::new("GET", &format!("/api/workspaces/{workspace}/users"));
        self.ask(request.with_header("X-API-Key", KEY)).1
    }

    /// Sends a request. A refusal by `authorize`, before the body is read, is the response.
    fn ask(&self, request: Asked) -> (u16, String) {
        let answer = match self.site.admit(&request) {
            Ok(()) => self.site.answer(request).now_or_never().expect("at once"),
            Err(response) => response,
        };
        (
            answer.status,
            String::from_utf8(answer.body.to_vec()).unwrap(),
        )
    }
}

impl Entrance {
    fn board_now(&self, path: &str) -> Result<latido_http::HandlerSpec, Answer> {
        Pier::board(self, Asked::new("GET", path))
            .now_or_never()
            .expect("at once")
    }
}

fn now() -> Timestamp {
    Timestamp {
        unix_s: Clock::system().unix_s(),
    }
}
