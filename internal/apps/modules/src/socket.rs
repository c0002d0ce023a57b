//! Socket.IO connections of web pages and of devices with older firmware.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use latido_auth::Secret;
use latido_event_bus::{ConnectionId, BusEvent, Identity, JoinRequest, Mailbox};
use latido_socketio::{SocketIoApp, Emit, ClientEvent, SocketHandle, SocketHandler};

use crate::Modules;
use crate::dates::iso;
use crate::device::conversation::{Close, Conversation, Effect};
use crate::device::frame::{self, Report};
use crate::identity::{Person, Proof};
use crate::news::aliases;
use crate::orders::{COMMAND, sent};
use crate::page::Page;
use crate::people::Shown;
use crate::query;
use crate::request::{self, Claim, Refusal, Request};
use crate::topics;

/// The time in which a client must authenticate.
const DEADLINE: Duration = Duration::from_secs(10);
/// The time in which a client must answer a ping; long because slow firmware connects here too.
const PING_TIMEOUT: Duration = Duration::from_secs(60);

/// The app as a Socket.IO application.
pub(super) struct Pages(pub(super) Arc<Modules>);

impl SocketIoApp for Pages {
    fn namespaces(&self) -> &'static [&'static str] {
        &["/"]
    }

    fn handles_event(&self, event: &str) -> bool {
        request::is_request(event) || is_device_event(event)
    }

    fn ping_timeout(&self) -> Option<Duration> {
        Some(PING_TIMEOUT)
    }

    fn claims_socket(&self, link: &SocketHandle) -> bool {
        self.0.people.session(|name| link.header(name)).is_some()
    }

    fn on_connect(&self, link: &SocketHandle, auth: Value) -> Option<(Box<dyn SocketHandler>, Mailbox)> {
        let mailbox = self.0.office.exchange.connect(Identity::default(), &[]).ok()?;
        let token = ["token", "sessionToken"]
            .iter()
            .find_map(|name| auth.get(*name)?.as_str().map(ToOwned::to_owned));
        let token = token
            .or_else(|| query::value(link.query(), "token"))
            .filter(|token| !token.is_empty());
        let credentials = Shown {
            token: token.map(Secret::new),
            session: self.0.people.session(|name| link.header(name)),
        };
        let mut socket = Socket {
            app: Arc::clone(&self.0),
            link: link.clone(),
            conn: mailbox.id(),
            who: Who::Stranger,
            page: None,
            lookup: None,
            deadline: Instant::now() + DEADLINE,
        };
        if !credentials.is_empty() {
            socket.look_up(credentials);
        }
        Some((Box::new(socket), mailbox))
    }

    fn encode(&self, _namespace: &str, event: &BusEvent) -> Vec<Emit> {
        let Some(message) = event.message() else {
            return Vec::new();
        };
        if &*message.name == COMMAND {
            let Some(command) = self.0.command(&message.payload) else {
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
enum Who {
    Stranger,
    Person(Person),
    Device(Conversation),
}

struct Socket {
    app: Arc<Modules>,
    link: SocketHandle,
    conn: ConnectionId,
    who: Who,
    page: Option<Page>,
    /// The pending authentication by the handshake's credentials.
    lookup: Option<oneshot::Receiver<Option<Person>>>,
    /// The time by which the client must authenticate, or at which its identity is checked again.
    deadline: Instant,
}

impl SocketHandler for Socket {
    fn on_event<'a>(&'a mut self, client_event: ClientEvent) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Some(lookup) = &mut self.lookup {
                let found = lookup.await.ok().flatten();
                self.lookup = None;
                self.found(found);
            }
            let payload = client_event
                .args
                .values
                .into_iter()
                .next()
                .unwrap_or(Value::Null);
            let from_device =
                is_device_event(&client_event.name) && !matches!(self.who, Who::Person(_));
            if from_device || matches!(self.who, Who::Device(_)) {
                self.hear_device(&client_event.name, &payload).await;
            } else {
                self.hear_page(&client_event.name, &payload).await;
            }
        })
    }

    fn next_timer(&self) -> Option<Instant> {
        // The heartbeat of the transport already covers devices.
        (!matches!(self.who, Who::Device(_))).then_some(self.deadline)
    }

    fn on_timer(&mut self) {
        if let Some(Ok(found)) = self.lookup.as_mut().map(oneshot::Receiver::try_recv) {
            self.lookup = None;
            self.found(found);
        }
        match &self.who {
            Who::Device(_) => {}
            Who::Stranger => self.expel("Authentication failed"),
            Who::Person(user) => match user.proof.clone() {
                Proof::Word => self.deadline = Instant::now() + Duration::from_secs(3600),
                Proof::Token { ends_at_s } if self.app.office.now() / 1000 >= ends_at_s => {
                    self.expel("Token expired")
                }
                Proof::Token { ends_at_s } => self.deadline = self.app.instant_of(ends_at_s),
                Proof::Session(_) => self.look_again(),
            },
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Who::Device(session) = &self.who
            && let Some(module) = session.module()
        {
            self.app.office.device_left(module, self.conn);
        }
        self.app.office.touch();
    }
}

impl Socket {
    /// Starts authentication by the handshake's credentials. The client joins its topics on
    /// success, even if it never sends an event.
    fn look_up(&mut self, credentials: Shown) {
        let (result_sender, result_receiver) = oneshot::channel();
        let (app, conn, link) = (Arc::clone(&self.app), self.conn, self.link.clone());
        self.app.drain.spawn_until_stop(async move {
            let found = app.people.identify(&credentials).await;
            match &found {
                Ok(Some(user)) => app.enter(conn, user, None),
                Ok(None) => {}
                Err(unavailable) => {
                    link.emit("error", &json!({"message": unavailable.to_string()}))
                }
            }
            let _ = result_sender.send(found.ok().flatten());
        });
        self.lookup = Some(result_receiver);
    }

    fn found(&mut self, user: Option<Person>) {
        if let Some(user) = user {
            self.settle(user);
        }
    }

    fn settle(&mut self, user: Person) {
        self.deadline = match user.proof {
            Proof::Token { ends_at_s } => self.app.instant_of(ends_at_s),
            Proof::Session(_) => Instant::now() + self.app.people.ttl,
            Proof::Word => Instant::now() + Duration::from_secs(3600),
        };
        self.who = Who::Person(user);
    }

    /// Checks a session again, and disconnects the client if the session has ended or belongs to
    /// another user.
    fn look_again(&mut self) {
        self.deadline = Instant::now() + self.app.people.ttl;
        let Who::Person(user) = &self.who else {
            return;
        };
        let Proof::Session(session) = user.proof.clone() else {
            return;
        };
        let (app, user, link) = (Arc::clone(&self.app), user.clone(), self.link.clone());
        self.app.drain.spawn_until_stop(async move {
            let same = |now: &Person| (&now.user, now.is_admin) == (&user.user, user.is_admin);
            // A database failure disconnects no client.
            if let Ok(now) = app.people.holder(&session).await
                && !now.as_ref().is_some_and(same)
            {
                link.emit("client:auth:error", &json!({"message": "Session expired"}));
                link.disconnect();
            }
        });
    }

    fn expel(&self, message: &str) {
        self.link
            .emit("client:auth:error", &json!({"message": message}));
        self.link.disconnect();
    }

    fn error(&self, message: &str) {
        self.link.emit("error", &json!({"message": message}));
    }

    async fn hear_page(&mut self, event: &str, payload: &Value) {
        let request = match request::read(event, payload) {
            Ok(request) => request,
            Err(Refusal::Unknown) => return self.error("Unknown event"),
            Err(Refusal::Invalid(why)) => return self.error(why),
            Err(Refusal::Command { named, why }) => {
                return self.command_error(&named.0, &named.1, why);
            }
        };
        let user = match (&self.who, request) {
            (_, Request::Authenticate(claim)) => return self.authenticate(claim).await,
            (Who::Person(user), request) => (user.clone(), request),
            (_, request) => return self.refuse(request),
        };
        match user {
            (user, Request::Page(page, again)) => {
                self.turn_to(&user, page);
                if again {
                    self.begin(&user);
                }
            }
            (user, Request::Sync) => {
                self.begin(&user);
                self.link.emit(
                    "client:sync:success",
                    &json!({"timestamp": iso(self.app.office.now())}),
                );
            }
            (user, Request::Stats) => self
                .link
                .emit("simple_stats_update", &self.app.simple_stats(&user)),
            (user, Request::States { reply }) => {
                let states = self.app.office.states(&user);
                self.link.emit(
                    reply,
                    &json!({"states": states, "timestamp": iso(self.app.office.now())}),
                );
            }
            (
                user,
                Request::Command {
                    module,
                    command,
                    params,
                },
            ) => match self.app.office.command(&user, &module, &command, &params) {
                Ok(at) => self.link.emit("command_sent", &sent(&module, &command, at)),
                Err(error) => self.command_error(&module.into(), &command.into(), error.why()),
            },
            (user, Request::Claim { module, code }) => self.claim(&user, &module, code).await,
            (_, Request::Authenticate(_)) => {}
        }
    }

    /// Answers a request of an unauthenticated client. A page change is stored for later.
    fn refuse(&mut self, request: Request) {
        const WHY: &str = "Not authenticated";
        match request {
            Request::Page(page, _) => {
                self.page = Some(page);
                self.error(WHY);
            }
            Request::Sync => self
                .link
                .emit("client:sync:error", &json!({"message": WHY})),
            Request::Command {
                module, command, ..
            } => self.command_error(&module.into(), &command.into(), WHY),
            Request::Stats
            | Request::States { .. }
            | Request::Claim { .. }
            | Request::Authenticate(_) => self.error(WHY),
        }
    }

    fn command_error(&self, module: &Value, command: &Value, why: &str) {
        // Some page versions read `error`, others `message`.
        let payload = json!({"moduleId": module, "command": command, "error": why, "message": why});
        self.link.emit("command_error", &payload);
    }

    async fn authenticate(&mut self, claim: Claim) {
        let refuse = |socket: &Self, message: &str| {
            socket
                .link
                .emit("client:auth:error", &json!({"message": message}))
        };
        let credentials = Shown {
            token: claim.token,
            session: None,
        };
        let proved = if credentials.is_empty() {
            Ok(None)
        } else {
            self.app.people.identify(&credentials).await
        };
        let identified = match (&self.who, proved) {
            (_, Ok(Some(user))) => Some(user),
            (Who::Person(user), _) => Some(user.clone()),
            (_, Err(unavailable)) => return refuse(self, &unavailable.to_string()),
            (_, Ok(None)) => self.app.trusted(claim.user.as_deref(), claim.is_admin),
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
            .is_some_and(|claimed| claimed != user.user.as_str())
        {
            return refuse(self, "Authentication failed");
        }
        self.page = claim.page.or(self.page);
        self.app.enter(self.conn, &user, self.page);
        self.settle(user.clone());
        let now = iso(self.app.office.now());
        self.link.emit(
            "client:auth:success",
            &json!({"message": "Authenticated successfully", "timestamp": now}),
        );
        self.begin(&user);
    }

    fn turn_to(&mut self, user: &Person, page: Page) {
        let exchange = &self.app.office.exchange;
        if let Some(old) = self.page.replace(page) {
            for topic in topics::of_page(user, old) {
                exchange.leave(self.conn, &topic);
            }
        }
        let joins: Vec<_> = topics::of_page(user, page)
            .into_iter()
            .map(JoinRequest::new)
            .collect();
        // This fails only if the connection is closed.
        let _ = exchange.join(self.conn, &joins);
        self.app.office.touch();
    }

    /// Sends the initial events of the shown page.
    fn begin(&self, user: &Person) {
        for (event, payload) in self.app.begin(user, self.page) {
            self.link.emit(event, &payload);
        }
    }

    async fn claim(&self, user: &Person, module: &str, code: Option<Secret>) {
        let Some(code) = code else {
            return self.error("Module code required");
        };
        match self.app.claim(user, module, &code).await {
            Ok(online) => {
                self.link.emit(
                    "claim_ack",
                    &json!({"moduleId": module, "code": code.expose()}),
                );
                self.link.emit(
                    "module_presence",
                    &json!({"moduleId": module, "online": online}),
                );
            }
            Err(why) => self.error(why),
        }
    }

    async fn hear_device(&mut self, event: &str, payload: &Value) {
        if !matches!(self.who, Who::Device(_)) {
            self.who = Who::Device(self.app.conversation());
        }
        let Who::Device(session) = &mut self.who else {
            return;
        };
        let now = self.app.office.now();
        let mut effect = session.heard(frame::read_event(event, payload), now);
        if let Some(Effect::Check { module, password }) = effect {
            let result = self.app.check(&module, password).await;
            effect = session.judged(result, self.app.office.now());
        }
        match effect {
            Some(Effect::Report(module, Report::Identify(fields))) => self.greet(&module, &fields),
            Some(Effect::Report(module, report)) => {
                self.app.office.device_said(&module, self.conn, report)
            }
            Some(Effect::Close(close)) => {
                self.error(close.reason());
                self.link.disconnect();
            }
            Some(Effect::Send(_) | Effect::Check { .. }) | None => {}
        }
    }

    fn greet(&mut self, module: &str, fields: &Map<String, Value>) {
        if !self.app.office.device_came(module, self.conn, fields) {
            self.error(Close::Failed.reason());
            return self.link.disconnect();
        }
        let [connected, success] = self.app.greetings(module);
        self.link.emit("connected", &connected);
        self.link.emit("auth_success", &success);
    }
}
