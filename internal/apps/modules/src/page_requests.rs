//! The requests of web pages over Socket.IO.

use serde_json::{Value, json};

use latido_auth::Secret;
use latido_event_bus::JoinRequest;

use crate::authenticator::PresentedCredentials;
use crate::client_request::{self, ClientClaim, ClientRequest, RequestError};
use crate::device_commands::ack_payload;
use crate::page::WebPage;
use crate::socketio::{ClientSocket, ClientState};
use crate::time_format::to_iso_string;
use crate::topics;
use crate::user::WebUser;

impl ClientSocket {
    pub(super) async fn on_client_event(&mut self, event: &str, payload: &Value) {
        let request = match client_request::parse(event, payload) {
            Ok(request) => request,
            Err(RequestError::UnknownEvent) => return self.send_error("Unknown event"),
            Err(RequestError::InvalidField(why)) => return self.send_error(why),
            Err(RequestError::InvalidCommand {
                target: named,
                reason: why,
            }) => {
                return self.send_command_error(&named.0, &named.1, why);
            }
        };
        let user = match (&self.state, request) {
            (_, ClientRequest::Authenticate(claim)) => return self.authenticate(claim).await,
            (ClientState::User(user), request) => (user.clone(), request),
            (_, request) => return self.reject_unauthenticated(request),
        };
        match user {
            (user, ClientRequest::Page(page, again)) => {
                self.change_page(&user, page);
                if again {
                    self.send_initial_events(&user);
                }
            }
            (user, ClientRequest::Sync) => {
                self.send_initial_events(&user);
                self.handle.emit(
                    "client:sync:success",
                    &json!({"timestamp": to_iso_string(self.app.service.now())}),
                );
            }
            (user, ClientRequest::Stats) => self
                .handle
                .emit("simple_stats_update", &self.app.simple_stats(&user)),
            (user, ClientRequest::States { reply }) => {
                let states = self.app.service.states_for(&user);
                self.handle.emit(
                    reply,
                    &json!({"states": states, "timestamp": to_iso_string(self.app.service.now())}),
                );
            }
            (
                user,
                ClientRequest::Command {
                    module,
                    command,
                    params,
                },
            ) => match self
                .app
                .service
                .send_command(&user, &module, &command, &params)
            {
                Ok(at) => self
                    .handle
                    .emit("command_sent", &ack_payload(&module, &command, at)),
                Err(error) => {
                    self.send_command_error(&module.into(), &command.into(), error.message())
                }
            },
            (user, ClientRequest::Claim { module, code }) => {
                self.claim_module(&user, &module, code).await
            }
            (_, ClientRequest::Authenticate(_)) => {}
        }
    }

    /// Answers a request of an unauthenticated client. A page change is stored for later.
    fn reject_unauthenticated(&mut self, request: ClientRequest) {
        const WHY: &str = "Not authenticated";
        match request {
            ClientRequest::Page(page, _) => {
                self.page = Some(page);
                self.send_error(WHY);
            }
            ClientRequest::Sync => self
                .handle
                .emit("client:sync:error", &json!({"message": WHY})),
            ClientRequest::Command {
                module, command, ..
            } => self.send_command_error(&module.into(), &command.into(), WHY),
            ClientRequest::Stats
            | ClientRequest::States { .. }
            | ClientRequest::Claim { .. }
            | ClientRequest::Authenticate(_) => self.send_error(WHY),
        }
    }

    fn send_command_error(&self, module: &Value, command: &Value, why: &str) {
        // Some page versions read `error`, others `message`.
        let payload = json!({"moduleId": module, "command": command, "error": why, "message": why});
        self.handle.emit("command_error", &payload);
    }

    async fn authenticate(&mut self, claim: ClientClaim) {
        let refuse = |socket: &Self, message: &str| {
            socket
                .handle
                .emit("client:auth:error", &json!({"message": message}))
        };
        let credentials = PresentedCredentials {
            token: claim.token,
            session: None,
            address: self.handle.peer().map(|peer| peer.ip()),
        };
        let proved = if credentials.is_empty() {
            Ok(None)
        } else {
            self.app.authenticator.authenticate(&credentials).await
        };
        let identified = match (&self.state, proved) {
            (_, Ok(Some(user))) => Some(user),
            (ClientState::User(user), _) => Some(user.clone()),
            (_, Err(unavailable)) => return refuse(self, &unavailable.to_string()),
            (_, Ok(None)) => self
                .app
                .unverified_user(claim.user.as_deref(), claim.is_admin),
        };
        let Some(user) = identified else {
            return refuse(
                self,
                if claim.user.is_none() {
                    "User ID required"
                } else {
                    "Authentication failed"
                },
            );
        };
        if claim
            .user
            .as_deref()
            .is_some_and(|claimed| claimed != user.id.as_str())
        {
            return refuse(self, "Authentication failed");
        }
        self.page = claim.page.or(self.page);
        self.app.set_client_identity(self.conn, &user, self.page);
        self.set_user(user.clone());
        let now = to_iso_string(self.app.service.now());
        self.handle.emit(
            "client:auth:success",
            &json!({"message": "Authenticated successfully", "timestamp": now}),
        );
        self.send_initial_events(&user);
    }

    fn change_page(&mut self, user: &WebUser, page: WebPage) {
        let exchange = &self.app.service.event_bus;
        if let Some(old) = self.page.replace(page) {
            for topic in topics::page_topics(user, old) {
                exchange.leave(self.conn, &topic);
            }
        }
        let joins: Vec<_> = topics::page_topics(user, page)
            .into_iter()
            .map(JoinRequest::new)
            .collect();
        // This fails only if the connection is closed.
        let _ = exchange.join(self.conn, &joins);
        self.app.service.on_viewers_changed();
    }

    /// Sends the initial events of the shown page.
    fn send_initial_events(&self, user: &WebUser) {
        for (event, payload) in self.app.initial_events(user, self.page) {
            self.handle.emit(event, &payload);
        }
    }

    async fn claim_module(&self, user: &WebUser, module: &str, code: Option<Secret>) {
        let Some(code) = code else {
            return self.send_error("Module code required");
        };
        match self.app.claim_module(user, module, &code).await {
            Ok(online) => {
                self.handle.emit(
                    "claim_ack",
                    &json!({"moduleId": module, "code": code.expose()}),
                );
                self.handle.emit(
                    "module_presence",
                    &json!({"moduleId": module, "online": online}),
                );
            }
            Err(error) => self.send_error(&error.to_string()),
        }
    }
}
