//! The requests of web pages over Socket.IO.

use std::sync::Arc;

use serde_json::{Value, json};

use latido_auth::Secret;
use latido_event_bus::JoinRequest;
use latido_socketio::SocketActions;

use crate::authenticator::{AuthUnavailable, PresentedCredentials};
use crate::client_request::{self, ClientClaim, ClientRequest, RequestError};
use crate::client_socket::{ClientSocket, ClientState, SocketResult};
use crate::device_commands::ack_payload;
use crate::module_claims::ClaimError;
use crate::page::WebPage;
use crate::time_format::to_iso_string;
use crate::topics;
use crate::user::WebUser;

impl ClientSocket {
    /// Handles an event of a web page. Returns `false` if something must be looked up first.
    pub(super) fn on_client_event(
        &mut self,
        event: &str,
        payload: &Value,
        actions: &mut SocketActions<'_>,
    ) -> bool {
        let request = match client_request::parse(event, payload) {
            Ok(request) => request,
            Err(RequestError::UnknownEvent) => {
                self.send_error("Unknown event", actions);
                return true;
            }
            Err(RequestError::InvalidField(why)) => {
                self.send_error(why, actions);
                return true;
            }
            Err(RequestError::InvalidCommand {
                target: named,
                reason: why,
            }) => {
                self.send_command_error(&named.0, &named.1, why, actions);
                return true;
            }
        };
        match (&self.state, request) {
            (_, ClientRequest::Authenticate(claim)) => self.authenticate(claim, actions),
            (ClientState::User(user), ClientRequest::Claim { module, code }) => {
                let user = user.clone();
                self.claim_module(user, module, code, actions)
            }
            (ClientState::User(user), request) => {
                let user = user.clone();
                self.on_user_request(&user, request, actions);
                true
            }
            (_, request) => {
                self.reject_unauthenticated(request, actions);
                true
            }
        }
    }

    fn on_user_request(
        &mut self,
        user: &WebUser,
        request: ClientRequest,
        actions: &mut SocketActions<'_>,
    ) {
        match request {
            ClientRequest::Page(page, again) => {
                self.change_page(user, page);
                if again {
                    self.send_initial_events(user, actions);
                }
            }
            ClientRequest::Sync => {
                self.send_initial_events(user, actions);
                let timestamp = to_iso_string(self.app.service.now());
                actions.emit("client:sync:success", &json!({"timestamp": timestamp}));
            }
            ClientRequest::Stats => {
                actions.emit("simple_stats_update", &self.app.simple_stats(user));
            }
            ClientRequest::States { reply } => {
                let states = self.app.service.states_for(user);
                let timestamp = to_iso_string(self.app.service.now());
                actions.emit(reply, &json!({"states": states, "timestamp": timestamp}));
            }
            ClientRequest::Command {
                module,
                command,
                params,
            } => match self
                .app
                .service
                .send_command(user, &module, &command, &params)
            {
                Ok(at) => actions.emit("command_sent", &ack_payload(&module, &command, at)),
                Err(error) => self.send_command_error(
                    &module.into(),
                    &command.into(),
                    error.message(),
                    actions,
                ),
            },
            ClientRequest::Claim { .. } | ClientRequest::Authenticate(_) => {}
        }
    }

    /// Answers a request of an unauthenticated client. A page change is stored for later.
    fn reject_unauthenticated(&mut self, request: ClientRequest, actions: &mut SocketActions<'_>) {
        const WHY: &str = "Not authenticated";
        match request {
            ClientRequest::Page(page, _) => {
                self.page = Some(page);
                self.send_error(WHY, actions);
            }
            ClientRequest::Sync => {
                self.refusal = Some(WHY.into());
                actions.emit("client:sync:error", &json!({"message": WHY}));
            }
            ClientRequest::Command {
                module, command, ..
            } => self.send_command_error(&module.into(), &command.into(), WHY, actions),
            ClientRequest::Stats
            | ClientRequest::States { .. }
            | ClientRequest::Claim { .. }
            | ClientRequest::Authenticate(_) => self.send_error(WHY, actions),
        }
    }

    fn send_command_error(
        &mut self,
        module: &Value,
        command: &Value,
        why: &str,
        actions: &mut SocketActions<'_>,
    ) {
        self.refusal = Some(why.into());
        // Some page versions read `error`, others `message`.
        let payload = json!({"moduleId": module, "command": command, "error": why, "message": why});
        actions.emit("command_error", &payload);
    }

    /// Checks a claim. Returns `false` if its result comes to
    /// [`ClientSocket::on_claim_checked`].
    fn authenticate(&mut self, claim: ClientClaim, actions: &mut SocketActions<'_>) -> bool {
        let credentials = PresentedCredentials {
            token: claim.token.clone(),
            session: None,
            address: self.address,
        };
        if credentials.is_empty() {
            self.on_claim_checked(claim, Ok(None), actions);
            return true;
        }
        if let Some(user) = self.app.authenticator.try_authenticate(&credentials) {
            self.on_claim_checked(claim, Ok(Some(user)), actions);
            return true;
        }
        let (app, checked) = (Arc::clone(&self.app), claim.clone());
        let check = async move {
            let proved = app.authenticator.authenticate(&credentials).await;
            SocketResult::Claim(checked, proved)
        };
        let is_started = actions.wait_for(check);
        if !is_started {
            self.on_claim_checked(claim, Err(AuthUnavailable), actions);
        }
        !is_started
    }

    pub(super) fn on_claim_checked(
        &mut self,
        claim: ClientClaim,
        proved: Result<Option<WebUser>, AuthUnavailable>,
        actions: &mut SocketActions<'_>,
    ) {
        let identified = match (&self.state, proved) {
            (_, Ok(Some(user))) => Some(user),
            (ClientState::User(user), _) => Some(user.clone()),
            (_, Err(unavailable)) => return self.refuse_claim(&unavailable.to_string(), actions),
            (_, Ok(None)) => self
                .app
                .unverified_user(claim.user.as_deref(), claim.is_admin),
        };
        let Some(user) = identified else {
            let why = if claim.user.is_none() {
                "User ID required"
            } else {
                "Authentication failed"
            };
            return self.refuse_claim(why, actions);
        };
        if claim
            .user
            .as_deref()
            .is_some_and(|claimed| claimed != user.id.as_str())
        {
            return self.refuse_claim("Authentication failed", actions);
        }
        self.page = claim.page.or(self.page);
        self.app.set_client_identity(self.conn, &user, self.page);
        self.set_user(user.clone(), actions);
        let now = to_iso_string(self.app.service.now());
        actions.emit(
            "client:auth:success",
            &json!({"message": "Authenticated successfully", "timestamp": now}),
        );
        self.send_initial_events(&user, actions);
    }

    fn refuse_claim(&mut self, message: &str, actions: &mut SocketActions<'_>) {
        self.refusal = Some(message.into());
        actions.emit("client:auth:error", &json!({"message": message}));
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
    fn send_initial_events(&self, user: &WebUser, actions: &mut SocketActions<'_>) {
        for (event, payload) in self.app.initial_events(user, self.page) {
            actions.emit(event, &payload);
        }
    }

    /// Starts to claim a module. Returns `false` if its result comes to
    /// [`ClientSocket::on_module_claimed`].
    fn claim_module(
        &mut self,
        user: WebUser,
        module: String,
        code: Option<Secret>,
        actions: &mut SocketActions<'_>,
    ) -> bool {
        let Some(code) = code else {
            self.send_error("Module code required", actions);
            return true;
        };
        let app = Arc::clone(&self.app);
        let claim = async move {
            let claimed = app.claim_module(&user, &module, &code).await;
            SocketResult::Module {
                module,
                code,
                claimed,
            }
        };
        let is_started = actions.wait_for(claim);
        if !is_started {
            self.send_error(&AuthUnavailable.to_string(), actions);
        }
        !is_started
    }

    pub(super) fn on_module_claimed(
        &mut self,
        module: &str,
        code: &Secret,
        claimed: Result<bool, ClaimError>,
        actions: &mut SocketActions<'_>,
    ) {
        match claimed {
            Ok(online) => {
                let payload = json!({"moduleId": module, "code": code.expose()});
                actions.emit("claim_ack", &payload);
                let presence = json!({"moduleId": module, "online": online});
                actions.emit("module_presence", &presence);
            }
            Err(error) => self.send_error(&error.to_string(), actions),
        }
    }
}
