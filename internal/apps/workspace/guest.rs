//! One connection: nobody until `auth`, then a user in a workspace.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::apps::workspace::claims::{Credentials, Member, USER_CLAIMS, trust};
use crate::apps::workspace::wire::{self, Auth, Incoming};
use crate::apps::workspace::{DIALECT, Shared, user_topic, workspace_topic};
use crate::auth::{Opened, TokenError};
use crate::hub::exchange::{ConnId, Event, Identity, Join};
use crate::ident::UserId;
use crate::protocol::Frame;
use crate::shard::{Acts, Answered, Berth, Guest, Heard, Now};

/// Seconds until somebody who has shown no token must have said who is there.
const AUTH_DEADLINE_S: i64 = 10;
/// How long a token may take to be verified, where the issuer's keys must be fetched.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(4);
/// Messages that wait while a token is being verified.
const HELD: usize = 16;
/// «Who are you?» RFC 6455 leaves 4000 and above to applications.
const UNAUTHORIZED: u16 = 4401;
/// RFC 6455 §7.4.1, IANA: try again later.
const TRY_LATER: u16 = 1013;

/// Why somebody is refused, as metrics name it.
pub(super) const REFUSALS: [&str; 8] = [
    "auth_deadline",
    "token",
    "membership",
    "anonymous",
    "overloaded",
    "key",
    "body",
    "message_rate",
];

/// See the module's documentation.
pub(super) struct WorkspaceGuest {
    shared: Arc<Shared>,
    berth: Berth,
    /// None: the exchange has refused it, which it never does to one that is new.
    id: Option<ConnId>,
    /// What a token said at the door.
    credentials: Option<Credentials>,
    /// Whether the native dialect is spoken here, with somebody who came in by a token of its own.
    is_native: bool,
    /// Whether it is spoken with whom `auth` named.
    follows_auth: bool,
    member: Option<Member>,
    /// Unix seconds.
    deadline_s: Option<i64>,
    /// An `auth` whose token is being verified, and what was said since.
    verifying: Option<(Auth, VecDeque<String>)>,
}

/// What came of verifying a token.
type Verified = Result<Opened, TokenError>;

impl WorkspaceGuest {
    pub(super) fn boxed(
        shared: Arc<Shared>,
        berth: Berth,
        credentials: Option<Credentials>,
        is_native: bool,
    ) -> Box<dyn Guest> {
        let attached = shared.exchange.attach(
            &berth.port,
            DIALECT,
            berth.address,
            Identity::default(),
            &[],
        );
        let id = attached
            .inspect_err(|error| tracing::warn!(%error, "a client could not be attached"))
            .ok();
        shared.metrics.connections.inc();
        let deadline_s = (!is_native).then(|| shared.clock.unix_s() + AUTH_DEADLINE_S);
        let (follows_auth, member, verifying) = (false, None, None);
        Box::new(Self {
            shared,
            berth,
            id,
            credentials,
            is_native,
            follows_auth,
            member,
            deadline_s,
            verifying,
        })
    }

    fn on_text(&mut self, text: &str, acts: &mut Acts<'_>) {
        let incoming = wire::decode(text);
        if let Some((_, held)) = &mut self.verifying {
            if held.len() == HELD {
                return self.refuse(
                    "overloaded",
                    wire::UNAVAILABLE,
                    TRY_LATER,
                    "too much at once",
                    acts,
                );
            }
            return held.push_back(text.to_owned());
        }
        match incoming {
            Incoming::Auth(auth) => self.authenticate(auth, acts),
            Incoming::Native if self.is_native || self.follows_auth => acts.native(text),
            Incoming::Native => self.refuse(
                "anonymous",
                wire::UNAUTHORIZED,
                UNAUTHORIZED,
                "unauthorized",
                acts,
            ),
            Incoming::Ping => reply(wire::PONG, acts),
            Incoming::Unknown => reply(wire::UNKNOWN_TYPE, acts),
            Incoming::Invalid => reply(wire::INVALID_JSON, acts),
        }
    }

    fn authenticate(&mut self, auth: Auth, acts: &mut Acts<'_>) {
        let Some(token) = &auth.token else {
            let known = self
                .credentials
                .as_ref()
                .map(|credentials| credentials.admit(&auth));
            let member = known.unwrap_or_else(|| {
                self.shared
                    .config
                    .trusts_client_ids
                    .then(|| trust(&auth))
                    .flatten()
            });
            return self.enter(member, acts);
        };
        match self.shared.verifier.open_at_once(token, &USER_CLAIMS) {
            Some(verified) => self.judge(&auth, verified, acts),
            None => self.verify(auth, acts),
        }
    }

    /// Asks somebody who may wait.
    fn verify(&mut self, auth: Auth, acts: &mut Acts<'_>) {
        let (verifier, token) = (
            Arc::clone(&self.shared.verifier),
            auth.token.clone().unwrap_or_default(),
        );
        let asked = acts.ask(async move {
            let opened =
                tokio::time::timeout(VERIFY_TIMEOUT, verifier.open(&token, &USER_CLAIMS)).await;
            opened.unwrap_or(Err(TokenError::KeysUnavailable))
        });
        if asked {
            self.verifying = Some((auth, VecDeque::new()));
        } else {
            self.refuse(
                "overloaded",
                wire::UNAVAILABLE,
                TRY_LATER,
                "try again later",
                acts,
            );
        }
    }

    fn judge(&mut self, auth: &Auth, verified: Verified, acts: &mut Acts<'_>) {
        match verified {
            Ok(opened) => {
                let credentials = Credentials::of(opened);
                let member = credentials.admit(auth);
                if member.is_some() && !self.is_native {
                    acts.enter(Arc::clone(&credentials.principal));
                    self.follows_auth = true;
                }
                self.enter(member, acts);
            }
            Err(error) if error.is_temporary() => {
                self.refuse(
                    "overloaded",
                    wire::UNAVAILABLE,
                    TRY_LATER,
                    "try again later",
                    acts,
                );
            }
            Err(error) => {
                tracing::debug!(reason = error.reason(), "a token was refused");
                self.refuse(
                    "token",
                    wire::UNAUTHORIZED,
                    UNAUTHORIZED,
                    "unauthorized",
                    acts,
                );
            }
        }
    }

    /// Lets a member in, out of whatever workspace it was in before: all that was said there is sent before it is told so, and
    /// nothing of the new one.
    fn enter(&mut self, member: Option<Member>, acts: &mut Acts<'_>) {
        let (Some(member), Some(id)) = (member, self.id) else {
            return self.refuse(
                "membership",
                wire::UNAUTHORIZED,
                UNAUTHORIZED,
                "unauthorized",
                acts,
            );
        };
        let exchange = &self.shared.exchange;
        let identity = Identity {
            user: Some(member.user.clone()),
            session: None,
            role: member.role.clone(),
        };
        let joins = [
            Join::new(workspace_topic(&member.workspace)).meta(&*member.user_json),
            Join::new(user_topic(member.user.as_str())),
        ];
        // An error means that the exchange has ended it: the shard learns so by itself.
        let _ = exchange.identify(id, Identity::default(), &[]);
        self.berth
            .port
            .reply(self.berth.address, Frame::text(wire::AUTH_SUCCESS));
        let _ = exchange.identify(id, identity, &joins);
        self.deadline_s = member.ends_at_s;
        self.member = Some(member);
    }

    fn refuse(
        &mut self,
        reason: &'static str,
        said: &str,
        code: u16,
        text: &'static str,
        acts: &mut Acts<'_>,
    ) {
        self.shared.metrics.refuse(reason);
        acts.say(said);
        acts.close(code, text);
    }
}

/// In the order of what else is on its way.
fn reply(text: &str, acts: &mut Acts<'_>) {
    acts.send_behind(Frame::text(text));
}

impl Guest for WorkspaceGuest {
    fn hear(&mut self, heard: Heard<'_>, _: Now, acts: &mut Acts<'_>) {
        match heard {
            Heard::Text(text) => self.on_text(text, acts),
            Heard::Binary(_) => reply(wire::INVALID_JSON, acts),
        }
    }

    fn answered(&mut self, answer: Answered, _: Now, acts: &mut Acts<'_>) {
        let (Ok(verified), Some((auth, held))) =
            (answer.downcast::<Verified>(), self.verifying.take())
        else {
            return;
        };
        let is_good = verified.is_ok();
        self.judge(&auth, *verified, acts);
        for text in held.into_iter().filter(|_| is_good) {
            self.on_text(&text, acts);
        }
    }

    fn on_time(&mut self, now: Now, acts: &mut Acts<'_>) {
        if self
            .deadline_s
            .is_none_or(|deadline_s| now.unix_s < deadline_s)
            || self.verifying.is_some()
        {
            return;
        }
        self.deadline_s = None;
        let (reason, text) = if self.member.is_some() {
            ("token", "token expired; come back with a new one")
        } else {
            ("auth_deadline", "unauthorized")
        };
        self.refuse(reason, wire::UNAUTHORIZED, UNAUTHORIZED, text, acts);
    }

    fn next_time(&self) -> Option<i64> {
        self.deadline_s
    }

    fn encode(&self, event: &Event) -> Frame {
        Frame::text(event.message().map_or("{}", |message| &message.payload))
    }

    fn user(&self) -> Option<&UserId> {
        self.member.as_ref().map(|member| &member.user)
    }

    fn flooded(&mut self, acts: &mut Acts<'_>) {
        self.shared.metrics.refuse("message_rate");
        reply(wire::TOO_MANY, acts);
    }
}

/// Nothing of it stays: when this returns it is on no list.
impl Drop for WorkspaceGuest {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shared.exchange.disconnect(id);
        }
        self.shared.metrics.connections.dec();
    }
}
