//! The socket of a web page, or of a device with older firmware.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use latido_auth::{Secret, TokenEnd};
use latido_event_bus::ConnectionId;
use latido_socketio::{Ack, Args, ClientEvent, SocketActions, SocketHandler};

use crate::app::ModulesApp;
use crate::authenticator::{AuthUnavailable, PresentedCredentials};
use crate::client_request::ClientClaim;
use crate::device::frame::{self, DeviceReport};
use crate::device::session::{DeviceClose, DeviceEffect, DeviceSession, PasswordCheck};
use crate::module_claims::ClaimError;
use crate::page::WebPage;
use crate::user::{AuthMethod, WebUser};

/// The time in which a client must authenticate.
const AUTH_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns `true` if devices send an event of this name.
pub(super) fn is_device_event(event: &str) -> bool {
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

/// The identity of a client. Boxed where it is large, because most clients are pages.
pub(super) enum ClientState {
    Unauthenticated,
    User(WebUser),
    Device(Box<DeviceSession>),
}

pub(super) struct ClientSocket {
    pub(super) app: Arc<ModulesApp>,
    /// The address of the client, if it is known.
    pub(super) address: Option<IpAddr>,
    pub(super) conn: ConnectionId,
    pub(super) state: ClientState,
    pub(super) page: Option<WebPage>,
    /// The time by which the client must authenticate, or at which its identity is checked again.
    pub(super) deadline: Instant,
    /// The acknowledgement of the event that is being handled.
    ack: Option<Ack>,
    /// The error that the client got for the event that is being handled.
    pub(super) refusal: Option<Box<str>>,
}

/// The result of a future that the socket has started.
pub(super) enum SocketResult {
    /// The user of the handshake's credentials.
    Lookup(Result<Option<WebUser>, AuthUnavailable>),
    /// The check of a device's password.
    Password(PasswordCheck),
    /// Whether the session of the client's cookie has ended.
    SessionEnded(bool),
    /// The user of a claim's credentials.
    Claim(ClientClaim, Result<Option<WebUser>, AuthUnavailable>),
    /// A module that the client claims, with its code: whether it is online, or the error.
    Module {
        module: String,
        code: Secret,
        claimed: Result<bool, ClaimError>,
    },
}

impl SocketHandler for ClientSocket {
    fn on_event(&mut self, client_event: ClientEvent, actions: &mut SocketActions<'_>) {
        let payload = client_event
            .args
            .values
            .into_iter()
            .next()
            .unwrap_or(Value::Null);
        self.ack = client_event.ack;
        self.refusal = None;
        let from_device =
            is_device_event(&client_event.name) && !matches!(self.state, ClientState::User(_));
        let is_handled = if from_device || matches!(self.state, ClientState::Device(_)) {
            self.on_device_event(&client_event.name, &payload, actions)
        } else {
            self.on_client_event(&client_event.name, &payload, actions)
        };
        if is_handled {
            self.acknowledge(actions);
        }
    }

    fn on_async_result(&mut self, output: Box<dyn Any + Send>, actions: &mut SocketActions<'_>) {
        let Ok(result) = output.downcast::<SocketResult>() else {
            return;
        };
        match *result {
            SocketResult::Lookup(found) => return self.on_lookup(found, actions),
            SocketResult::SessionEnded(false) => return,
            SocketResult::SessionEnded(true) => {
                return disconnect_with_error("Session expired", actions);
            }
            SocketResult::Password(check) => {
                if let ClientState::Device(session) = &mut self.state {
                    let effect = session.on_auth_result(check, self.app.service.now());
                    self.apply_device_effect(effect, actions);
                }
            }
            SocketResult::Claim(claim, proved) => self.on_claim_checked(claim, proved, actions),
            SocketResult::Module {
                module,
                code,
                claimed,
            } => self.on_module_claimed(&module, &code, claimed, actions),
        }
        self.acknowledge(actions);
    }

    fn next_timer(&self) -> Option<Instant> {
        // The heartbeat of the transport already covers devices.
        (!matches!(self.state, ClientState::Device(_))).then_some(self.deadline)
    }

    fn on_timer(&mut self, actions: &mut SocketActions<'_>) {
        if self.deadline > Instant::now() {
            return;
        }
        match &self.state {
            ClientState::Device(_) => {}
            ClientState::Unauthenticated => disconnect_with_error("Authentication failed", actions),
            ClientState::User(user) => match user.auth_method.clone() {
                AuthMethod::Unverified => {
                    self.deadline = Instant::now() + Duration::from_secs(3600)
                }
                AuthMethod::Token(lifetime) => {
                    match lifetime.ended(self.app.service.now() / 1000) {
                        Some(TokenEnd::Expired) => disconnect_with_error("Token expired", actions),
                        Some(TokenEnd::Revoked) => disconnect_with_error("Token revoked", actions),
                        None => self.deadline = self.app.next_token_check(&lifetime),
                    }
                }
                AuthMethod::Session(_) => self.recheck_session(actions),
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
    /// Creates the socket of a client that has not said who it is.
    pub(super) fn new(app: Arc<ModulesApp>, address: Option<IpAddr>, conn: ConnectionId) -> Self {
        Self {
            app,
            address,
            conn,
            state: ClientState::Unauthenticated,
            page: None,
            deadline: Instant::now() + AUTH_TIMEOUT,
            ack: None,
            refusal: None,
        }
    }

    /// Acknowledges the event that was handled, if the client requested it.
    fn acknowledge(&mut self, actions: &mut SocketActions<'_>) {
        let Some(ack) = self.ack.take() else { return };
        let answer = match self.refusal.take() {
            None => json!({"success": true}),
            Some(message) => json!({"success": false, "message": message}),
        };
        actions.acknowledge(&ack, &Args::new([answer]));
    }

    /// Starts authentication by the handshake's credentials. The client joins its topics on
    /// success, even if it never sends an event. Its first event waits.
    pub(super) fn start_lookup(
        &mut self,
        credentials: PresentedCredentials,
        actions: &mut SocketActions<'_>,
    ) {
        let app = Arc::clone(&self.app);
        let lookup =
            async move { SocketResult::Lookup(app.authenticator.authenticate(&credentials).await) };
        if !actions.wait_for(lookup) {
            self.on_lookup(Err(AuthUnavailable), actions);
        }
    }

    fn on_lookup(
        &mut self,
        found: Result<Option<WebUser>, AuthUnavailable>,
        actions: &mut SocketActions<'_>,
    ) {
        match found {
            Ok(Some(user)) => {
                self.app.set_client_identity(self.conn, &user, None);
                self.set_user(user, actions);
            }
            Ok(None) => {}
            Err(unavailable) => {
                actions.emit("error", &json!({"message": unavailable.to_string()}));
            }
        }
    }

    pub(super) fn set_user(&mut self, user: WebUser, actions: &mut SocketActions<'_>) {
        self.deadline = match user.auth_method {
            AuthMethod::Token(ref lifetime) => self.app.next_token_check(lifetime),
            AuthMethod::Session(_) => Instant::now() + self.app.authenticator.session_ttl,
            AuthMethod::Unverified => Instant::now() + Duration::from_secs(3600),
        };
        actions.mark_identified();
        self.state = ClientState::User(user);
    }

    /// Checks a session again, and disconnects the client if the session has ended or belongs to
    /// another user.
    fn recheck_session(&mut self, actions: &mut SocketActions<'_>) {
        self.deadline = Instant::now() + self.app.authenticator.session_ttl;
        let ClientState::User(user) = &self.state else {
            return;
        };
        let AuthMethod::Session(session) = user.auth_method.clone() else {
            return;
        };
        let (app, user) = (Arc::clone(&self.app), user.clone());
        let recheck = async move {
            let same = |now: &WebUser| (&now.id, now.is_admin) == (&user.id, user.is_admin);
            // A database failure disconnects no client.
            let now = app.authenticator.session_user(&session).await;
            SocketResult::SessionEnded(now.is_ok_and(|now| !now.as_ref().is_some_and(same)))
        };
        // If too many are pending, the next check follows in its time.
        let _started = actions.spawn(recheck);
    }

    pub(super) fn send_error(&mut self, message: &str, actions: &mut SocketActions<'_>) {
        self.refusal = Some(message.into());
        actions.emit("error", &json!({"message": message}));
    }

    /// Handles a device's event. Returns `false` if its password must be checked first.
    fn on_device_event(
        &mut self,
        event: &str,
        payload: &Value,
        actions: &mut SocketActions<'_>,
    ) -> bool {
        if !matches!(self.state, ClientState::Device(_)) {
            self.state = ClientState::Device(Box::new(self.app.new_device_session()));
        }
        let ClientState::Device(session) = &mut self.state else {
            return true;
        };
        let now = self.app.service.now();
        let effect = session.on_message(frame::parse_event(event, payload), now);
        self.apply_device_effect(effect, actions)
    }

    /// Carries out an effect of the device's session. Returns `false` if a password must be checked
    /// first.
    fn apply_device_effect(
        &mut self,
        effect: Option<DeviceEffect>,
        actions: &mut SocketActions<'_>,
    ) -> bool {
        match effect {
            Some(DeviceEffect::CheckPassword { module, password }) => {
                let (app, address) = (Arc::clone(&self.app), self.address);
                let check = async move {
                    SocketResult::Password(app.verify_password(address, &module, password).await)
                };
                if actions.wait_for(check) {
                    return false;
                }
                if let ClientState::Device(session) = &mut self.state {
                    let now = self.app.service.now();
                    let effect = session.on_auth_result(PasswordCheck::Unavailable, now);
                    return self.apply_device_effect(effect, actions);
                }
            }
            Some(DeviceEffect::Report(module, DeviceReport::Identify(fields))) => {
                self.register_device(&module, &fields, actions)
            }
            Some(DeviceEffect::Report(module, report)) => self
                .app
                .service
                .on_device_report(&module, self.conn, report),
            Some(DeviceEffect::Close(close)) => {
                self.send_error(close.reason(), actions);
                actions.disconnect();
            }
            Some(DeviceEffect::Send(_)) | None => {}
        }
        true
    }

    fn register_device(
        &mut self,
        module: &str,
        fields: &Map<String, Value>,
        actions: &mut SocketActions<'_>,
    ) {
        if !self
            .app
            .service
            .on_device_connected(module, self.conn, fields)
        {
            self.send_error(DeviceClose::AuthFailed.reason(), actions);
            return actions.disconnect();
        }
        actions.mark_identified();
        let [connected, success] = self.app.connected_messages(module);
        actions.emit("connected", &connected);
        actions.emit("auth_success", &success);
    }
}

fn disconnect_with_error(message: &str, actions: &mut SocketActions<'_>) {
    actions.emit("client:auth:error", &json!({"message": message}));
    actions.disconnect();
}
