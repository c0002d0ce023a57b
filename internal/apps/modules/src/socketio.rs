//! Socket.IO connections of web pages and of devices with older firmware.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use latido_auth::{Secret, TokenEnd};
use latido_event_bus::{BusEvent, ConnectionId, Identity, Mailbox};
use latido_socketio::{ClientEvent, Emit, SocketHandle, SocketHandler, SocketIoApp};

use crate::app::ModulesApp;
use crate::authenticator::PresentedCredentials;
use crate::client_request;
use crate::device::frame::{self, DeviceReport};
use crate::device::session::{DeviceClose, DeviceEffect, DeviceSession};
use crate::device_commands::{COMMAND_EVENT, DeviceCommand};
use crate::events::aliases;
use crate::page::WebPage;
use crate::user::{AuthMethod, WebUser};

/// The time in which a client must authenticate.
const AUTH_TIMEOUT: Duration = Duration::from_secs(10);
/// The time in which a client must answer a ping; long because slow firmware connects here too.
const PING_TIMEOUT: Duration = Duration::from_secs(60);

/// The app as a Socket.IO application.
pub(super) struct ModulesSocketIo(pub(super) Arc<ModulesApp>);

impl SocketIoApp for ModulesSocketIo {
    fn namespaces(&self) -> &'static [&'static str] {
        &["/"]
    }

    fn handles_event(&self, event: &str) -> bool {
        client_request::is_client_event(event) || is_device_event(event)
    }

    fn ping_timeout(&self) -> Option<Duration> {
        Some(PING_TIMEOUT)
    }

    fn claims_socket(&self, link: &SocketHandle) -> bool {
        self.0
            .authenticator
            .cookie_session(|name| link.header(name))
            .is_some()
    }

    fn on_connect(
        &self,
        link: &SocketHandle,
        auth: Value,
    ) -> Option<(Box<dyn SocketHandler>, Mailbox)> {
        let mailbox = self
            .0
            .service
            .event_bus
            .connect(Identity::default(), &[])
            .ok()?;
        let token = ["token", "sessionToken"]
            .iter()
            .find_map(|name| auth.get(*name)?.as_str().map(ToOwned::to_owned));
        let token = token
            .or_else(|| latido_net::query::value(link.query(), "token"))
            .filter(|token| !token.is_empty());
        let credentials = PresentedCredentials {
            token: token.map(Secret::new),
            session: self
                .0
                .authenticator
                .cookie_session(|name| link.header(name)),
            address: link.peer().map(|peer| peer.ip()),
        };
        let mut socket = ClientSocket {
            app: Arc::clone(&self.0),
            handle: link.clone(),
            conn: mailbox.id(),
            state: ClientState::Unauthenticated,
            page: None,
            lookup: None,
            deadline: Instant::now() + AUTH_TIMEOUT,
        };
        if !credentials.is_empty() {
            socket.start_lookup(credentials);
        }
        Some((Box::new(socket), mailbox))
    }

    fn encode(&self, _namespace: &str, event: &BusEvent) -> Vec<Emit> {
        let Some(message) = event.message() else {
            return Vec::new();
        };
        if &*message.name == COMMAND_EVENT {
            let Some(command) = DeviceCommand::parse(&message.payload) else {
                return Vec::new();
            };
            let payload: Arc<str> = frame::command_event(
                &command.module,
                &command.command,
                &command.params,
                command.at,
            )
            .to_string()
            .into();
            return vec![
                Emit::new("command", Arc::clone(&payload)),
                Emit::new("esp_command", payload),
            ];
        }
        let own = Emit::new(Arc::clone(&message.name), Arc::clone(&message.payload));
        let others = aliases(&message.name)
            .iter()
            .map(|name| Emit::new(*name, Arc::clone(&message.payload)));
        std::iter::once(own).chain(others).collect()
    }
}

/// Returns `true` if devices send an event of this name.
fn is_device_event(event: &str) -> bool {
    event.starts_with("esp_")
        || matches!(
            event,
            "module_identify"
                | "telemetry"
                | "heartbeat"
                | "command_response"
                | "module_telemetry"
                | "status_response"
                | "reset_response"
        )
}

#[expect(
    clippy::large_enum_variant,
    reason = "one a socket, which is far larger"
)]
pub(super) enum ClientState {
    Unauthenticated,
    User(WebUser),
    Device(DeviceSession),
}

pub(super) struct ClientSocket {
    pub(super) app: Arc<ModulesApp>,
    pub(super) handle: SocketHandle,
    pub(super) conn: ConnectionId,
    pub(super) state: ClientState,
    pub(super) page: Option<WebPage>,
    /// The pending authentication by the handshake's credentials.
    pub(super) lookup: Option<oneshot::Receiver<Option<WebUser>>>,
    /// The time by which the client must authenticate, or at which its identity is checked again.
    pub(super) deadline: Instant,
}

impl SocketHandler for ClientSocket {
    fn on_event<'a>(&'a mut self, client_event: ClientEvent) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Some(lookup) = &mut self.lookup {
                let found = lookup.await.ok().flatten();
                self.lookup = None;
                self.on_lookup(found);
            }
            let payload = client_event
                .args
                .values
                .into_iter()
                .next()
                .unwrap_or(Value::Null);
            let from_device =
                is_device_event(&client_event.name) && !matches!(self.state, ClientState::User(_));
            if from_device || matches!(self.state, ClientState::Device(_)) {
                self.on_device_event(&client_event.name, &payload).await;
            } else {
                self.on_client_event(&client_event.name, &payload).await;
            }
        })
    }

    fn next_timer(&self) -> Option<Instant> {
        // The heartbeat of the transport already covers devices.
        (!matches!(self.state, ClientState::Device(_))).then_some(self.deadline)
    }

    fn on_timer(&mut self) {
        if let Some(Ok(found)) = self.lookup.as_mut().map(oneshot::Receiver::try_recv) {
            self.lookup = None;
            self.on_lookup(found);
        }
        match &self.state {
            ClientState::Device(_) => {}
            ClientState::Unauthenticated => self.disconnect_with_error("Authentication failed"),
            ClientState::User(user) => match user.auth_method.clone() {
                AuthMethod::Unverified => {
                    self.deadline = Instant::now() + Duration::from_secs(3600)
                }
                AuthMethod::Token(lifetime) => {
                    match lifetime.ended(self.app.service.now() / 1000) {
                        Some(TokenEnd::Expired) => self.disconnect_with_error("Token expired"),
                        Some(TokenEnd::Revoked) => self.disconnect_with_error("Token revoked"),
                        None => self.deadline = self.app.next_token_check(&lifetime),
                    }
                }
                AuthMethod::Session(_) => self.recheck_session(),
            },
        }
    }
}

impl Drop for ClientSocket {
    fn drop(&mut self) {
        if let ClientState::Device(session) = &self.state
            && let Some(module) = session.module()
        {
            self.app.service.on_device_disconnected(module, self.conn);
        }
        self.app.service.on_viewers_changed();
    }
}

impl ClientSocket {
    /// Starts authentication by the handshake's credentials. The client joins its topics on
    /// success, even if it never sends an event.
    fn start_lookup(&mut self, credentials: PresentedCredentials) {
        let (result_sender, result_receiver) = oneshot::channel();
        let (app, conn, link) = (Arc::clone(&self.app), self.conn, self.handle.clone());
        self.app.drain.spawn_until_stop(async move {
            let found = app.authenticator.authenticate(&credentials).await;
            match &found {
                Ok(Some(user)) => {
                    link.mark_identified();
                    app.set_client_identity(conn, user, None)
                }
                Ok(None) => {}
                Err(unavailable) => {
                    link.emit("error", &json!({"message": unavailable.to_string()}))
                }
            }
            let _ = result_sender.send(found.ok().flatten());
        });
        self.lookup = Some(result_receiver);
    }

    fn on_lookup(&mut self, user: Option<WebUser>) {
        if let Some(user) = user {
            self.set_user(user);
        }
    }

    pub(super) fn set_user(&mut self, user: WebUser) {
        self.deadline = match user.auth_method {
            AuthMethod::Token(ref lifetime) => self.app.next_token_check(lifetime),
            AuthMethod::Session(_) => Instant::now() + self.app.authenticator.session_ttl,
            AuthMethod::Unverified => Instant::now() + Duration::from_secs(3600),
        };
        self.handle.mark_identified();
        self.state = ClientState::User(user);
    }

    /// Checks a session again, and disconnects the client if the session has ended or belongs to
    /// another user.
    fn recheck_session(&mut self) {
        self.deadline = Instant::now() + self.app.authenticator.session_ttl;
        let ClientState::User(user) = &self.state else {
            return;
        };
        let AuthMethod::Session(session) = user.auth_method.clone() else {
            return;
        };
        let (app, user, link) = (Arc::clone(&self.app), user.clone(), self.handle.clone());
        self.app.drain.spawn_until_stop(async move {
            let same = |now: &WebUser| (&now.id, now.is_admin) == (&user.id, user.is_admin);
            // A database failure disconnects no client.
            if let Ok(now) = app.authenticator.session_user(&session).await
                && !now.as_ref().is_some_and(same)
            {
                link.emit("client:auth:error", &json!({"message": "Session expired"}));
                link.disconnect();
            }
        });
    }

    fn disconnect_with_error(&self, message: &str) {
        self.handle
            .emit("client:auth:error", &json!({"message": message}));
        self.handle.disconnect();
    }

    pub(super) fn send_error(&self, message: &str) {
        self.handle.emit("error", &json!({"message": message}));
    }

    async fn on_device_event(&mut self, event: &str, payload: &Value) {
        if !matches!(self.state, ClientState::Device(_)) {
            self.state = ClientState::Device(self.app.new_device_session());
        }
        let ClientState::Device(session) = &mut self.state else {
            return;
        };
        let now = self.app.service.now();
        let mut effect = session.on_message(frame::parse_event(event, payload), now);
        if let Some(DeviceEffect::CheckPassword { module, password }) = effect {
            let address = self.handle.peer().map(|peer| peer.ip());
            let check = self.app.verify_password(address, &module, password);
            let result = check.await;
            effect = session.on_auth_result(result, self.app.service.now());
        }
        match effect {
            Some(DeviceEffect::Report(module, DeviceReport::Identify(fields))) => {
                self.register_device(&module, &fields)
            }
            Some(DeviceEffect::Report(module, report)) => self
                .app
                .service
                .on_device_report(&module, self.conn, report),
            Some(DeviceEffect::Close(close)) => {
                self.send_error(close.reason());
                self.handle.disconnect();
            }
            Some(DeviceEffect::Send(_) | DeviceEffect::CheckPassword { .. }) | None => {}
        }
    }

    fn register_device(&mut self, module: &str, fields: &Map<String, Value>) {
        if !self
            .app
            .service
            .on_device_connected(module, self.conn, fields)
        {
            self.send_error(DeviceClose::AuthFailed.reason());
            return self.handle.disconnect();
        }
        self.handle.mark_identified();
        let [connected, success] = self.app.connected_messages(module);
        self.handle.emit("connected", &connected);
        self.handle.emit("auth_success", &success);
    }
}
