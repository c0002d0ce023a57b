//! A module's connection as a state machine: frames and instants in, effects out. Pure.

use crate::auth::Secret;

use crate::apps::modules::dates::Millis;
use crate::apps::modules::device::frame::{self, Heard, Report};
use crate::apps::modules::device::password::{Digest, Digests};
use crate::apps::modules::registry::ModuleId;

/// How long a connection has to say which module it is.
pub(in crate::apps::modules) const IDENTIFY_MS: Millis = 10_000;
/// How often a module is asked whether it is there, and how long it has to answer.
pub(in crate::apps::modules) const PING_MS: Millis = 60_000;
pub(in crate::apps::modules) const PONG_MS: Millis = 10_000;

/// Why a connection is closed, with its WebSocket code: the words are the ones that firmware knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::apps::modules) enum Close {
    Timeout,
    MissingCredentials,
    Failed,
    NotAuthenticated,
    InvalidJson,
    NewSession,
    ServerError,
    NoPong,
}

impl Close {
    pub(in crate::apps::modules) fn code(self) -> u16 {
        match self {
            Self::NewSession => 1000,
            Self::InvalidJson => 1003,
            Self::ServerError => 1011,
            Self::Timeout
            | Self::MissingCredentials
            | Self::Failed
            | Self::NotAuthenticated
            | Self::NoPong => 1008,
        }
    }

    pub(in crate::apps::modules) fn reason(self) -> &'static str {
        match self {
            Self::Timeout => "Identification timeout",
            Self::MissingCredentials => "Missing credentials",
            Self::Failed => "Authentication failed",
            Self::NotAuthenticated => "Not authenticated",
            Self::InvalidJson => "Invalid JSON",
            Self::NewSession => "New session",
            Self::ServerError => "Server error",
            Self::NoPong => "Pong timeout",
        }
    }
}

/// What is to be done.
#[derive(Debug)]
pub(in crate::apps::modules) enum Effect {
    /// Send this text.
    Send(String),
    /// Close, and hear nothing more.
    Close(Close),
    /// Check a password; the answer comes back through [`Conversation::judged`].
    Check {
        module: ModuleId,
        password: Option<Secret>,
    },
    /// The module has something to say.
    Report(ModuleId, Report),
}

#[derive(Debug)]
enum State {
    /// Nobody yet.
    Stranger { until: Millis },
    /// A password is being checked; what came along with it waits.
    Checking {
        module: ModuleId,
        digest: Option<Digest>,
        first: Report,
    },
    /// This module.
    Known {
        module: ModuleId,
        digest: Option<Digest>,
        ping_at: Millis,
        pong_by: Option<Millis>,
    },
    /// Closed.
    Gone,
}

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::apps::modules) struct Conversation {
    state: State,
    /// The module, from the moment when that is proved, and also when the connection is closed: somebody must say that it left.
    proved: Option<ModuleId>,
    /// Whether a module may come without a password.
    trusting: bool,
    digests: Digests,
}

impl Conversation {
    pub(in crate::apps::modules) fn new(now: Millis, trusting: bool, digests: Digests) -> Self {
        Self {
            state: State::Stranger {
                until: now + IDENTIFY_MS,
            },
            proved: None,
            trusting,
            digests,
        }
    }

    /// The module, once that is proved, to the connection's end.
    pub(in crate::apps::modules) fn module(&self) -> Option<&ModuleId> {
        self.proved.as_ref()
    }

    /// A text frame.
    pub(in crate::apps::modules) fn hear(&mut self, text: &str, now: Millis) -> Option<Effect> {
        match frame::read(text) {
            Some(heard) => self.heard(heard, now),
            None => self.close(Close::InvalidJson),
        }
    }

    /// The same, taken apart already.
    pub(in crate::apps::modules) fn heard(&mut self, heard: Heard, now: Millis) -> Option<Effect> {
        match &mut self.state {
            State::Gone => None,
            State::Stranger { .. } => self.introduce(heard),
            // Impatient firmware repeats itself while its password is being checked.
            State::Checking { .. } => None,
            State::Known {
                module,
                digest,
                ping_at,
                pong_by,
            } => {
                let same_module = heard
                    .module
                    .as_deref()
                    .is_none_or(|claimed| *claimed == **module);
                let same_password = match (&heard.password, digest) {
                    (Some(password), Some(digest)) => self.digests.of(password).matches(digest),
                    _ => true,
                };
                if !same_module || !same_password {
                    return self.close(Close::Failed);
                }
                // Any frame shows that it is there.
                (*ping_at, *pong_by) = (now + PING_MS, None);
                Some(Effect::Report(module.clone(), heard.report))
            }
        }
    }

    fn introduce(&mut self, heard: Heard) -> Option<Effect> {
        let Report::Identify(_) = heard.report else {
            return self.close(Close::NotAuthenticated);
        };
        let (Some(module), password) = (heard.module, heard.password) else {
            return self.close(Close::MissingCredentials);
        };
        if password.is_none() && !self.trusting {
            return self.close(Close::MissingCredentials);
        }
        let module: ModuleId = module.into();
        let digest = password.as_ref().map(|password| self.digests.of(password));
        self.state = State::Checking {
            module: module.clone(),
            digest,
            first: heard.report,
        };
        Some(Effect::Check { module, password })
    }

    /// What came of the check. Good: what it said when it came is to be reported now.
    pub(in crate::apps::modules) fn judged(
        &mut self,
        verdict: Result<bool, ()>,
        now: Millis,
    ) -> Option<Effect> {
        let State::Checking {
            module,
            digest,
            first,
        } = std::mem::replace(&mut self.state, State::Gone)
        else {
            return None;
        };
        match verdict {
            Ok(true) => {
                self.proved = Some(module.clone());
                self.state = State::Known {
                    module: module.clone(),
                    digest,
                    ping_at: now + PING_MS,
                    pong_by: None,
                };
                Some(Effect::Report(module, first))
            }
            Ok(false) => Some(Effect::Close(Close::Failed)),
            Err(()) => Some(Effect::Close(Close::ServerError)),
        }
    }

    /// When [`Self::on_time`] should be called next.
    pub(in crate::apps::modules) fn next_time(&self) -> Option<Millis> {
        match &self.state {
            State::Stranger { until } => Some(*until),
            State::Known {
                ping_at, pong_by, ..
            } => Some(pong_by.unwrap_or(*ping_at)),
            State::Checking { .. } | State::Gone => None,
        }
    }

    /// Time has passed.
    pub(in crate::apps::modules) fn on_time(&mut self, now: Millis) -> Option<Effect> {
        match &mut self.state {
            State::Stranger { until } if now >= *until => self.close(Close::Timeout),
            State::Known {
                pong_by: Some(by), ..
            } if now >= *by => self.close(Close::NoPong),
            State::Known {
                ping_at,
                pong_by: pong_by @ None,
                ..
            } if now >= *ping_at => {
                (*ping_at, *pong_by) = (now + PING_MS, Some(now + PONG_MS));
                Some(Effect::Send(frame::ping(now).to_string()))
            }
            _ => None,
        }
    }

    fn close(&mut self, close: Close) -> Option<Effect> {
        self.state = State::Gone;
        Some(Effect::Close(close))
    }
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
