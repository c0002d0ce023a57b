//! The session of a device connection as a state machine: takes frames and times, returns effects.
//! Pure.

use latido_auth::Secret;

use crate::dates::Millis;
use crate::device::frame::{self, Heard, Report};
use crate::device::password::{Digest, Digests};
use crate::registry::ModuleId;

/// The time in which a new connection must identify its module, in milliseconds.
pub const IDENTIFY_MS: Millis = 10_000;
/// The interval between pings to a silent device, and the time in which it must answer, both in
/// milliseconds.
pub const PING_MS: Millis = 60_000;
pub const PONG_MS: Millis = 10_000;

/// The reasons to close a connection, each with its WebSocket code. The texts are those that
/// firmware knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
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
    pub fn code(self) -> u16 {
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

    pub fn reason(self) -> &'static str {
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

/// An effect for the connection to carry out.
#[derive(Debug)]
pub enum Effect {
    /// Sends this text frame to the device.
    Send(String),
    /// Closes the connection; later frames are ignored.
    Close(Close),
    /// Checks a password; the result goes to [`DeviceSession::on_auth_result`].
    Check {
        module: ModuleId,
        password: Option<Secret>,
    },
    /// Passes a report of the authenticated module to the service.
    Report(ModuleId, Report),
}

#[derive(Debug)]
enum State {
    /// The device has not identified itself yet.
    Stranger { until: Millis },
    /// The password is being checked; the report of the first frame waits for the result.
    Checking {
        module: ModuleId,
        digest: Option<Digest>,
        first: Report,
    },
    /// The device is authenticated as this module.
    Known {
        module: ModuleId,
        digest: Option<Digest>,
        ping_at: Millis,
        pong_by: Option<Millis>,
    },
    /// The connection is closed or closing.
    Gone,
}

/// The session; see the module's documentation.
#[derive(Debug)]
pub struct Conversation {
    state: State,
    /// The module after authentication. It stays set after a close, because the disconnect must
    /// still be reported.
    proved: Option<ModuleId>,
    /// `true` if a device may connect without a password.
    trusts_clients: bool,
    digests: Digests,
}

impl Conversation {
    pub fn new(now: Millis, trusts_clients: bool, digests: Digests) -> Self {
        Self {
            state: State::Stranger {
                until: now + IDENTIFY_MS,
            },
            proved: None,
            trusts_clients,
            digests,
        }
    }

    /// Returns the authenticated module, also after the session was closed.
    pub fn module(&self) -> Option<&ModuleId> {
        self.proved.as_ref()
    }

    /// Handles a text frame of the device.
    pub fn hear(&mut self, text: &str, now: Millis) -> Option<Effect> {
        match frame::read(text) {
            Some(message) => self.heard(message, now),
            None => self.close(Close::InvalidJson),
        }
    }

    /// Handles a frame that is already parsed.
    pub fn heard(&mut self, message: Heard, now: Millis) -> Option<Effect> {
        match &mut self.state {
            State::Gone => None,
            State::Stranger { .. } => self.introduce(message),
            // Some firmware repeats its first frame while its password is being checked.
            State::Checking { .. } => None,
            State::Known {
                module,
                digest,
                ping_at,
                pong_by,
            } => {
                let same_module = message
                    .module
                    .as_deref()
                    .is_none_or(|claimed| *claimed == **module);
                let same_password = match (&message.password, digest) {
                    (Some(password), Some(digest)) => self.digests.of(password).matches(digest),
                    _ => true,
                };
                if !same_module || !same_password {
                    return self.close(Close::Failed);
                }
                // Any frame proves that the device is alive.
                (*ping_at, *pong_by) = (now + PING_MS, None);
                Some(Effect::Report(module.clone(), message.report))
            }
        }
    }

    fn introduce(&mut self, message: Heard) -> Option<Effect> {
        let Report::Identify(_) = message.report else {
            return self.close(Close::NotAuthenticated);
        };
        let (Some(module), password) = (message.module, message.password) else {
            return self.close(Close::MissingCredentials);
        };
        if password.is_none() && !self.trusts_clients {
            return self.close(Close::MissingCredentials);
        }
        let module: ModuleId = module.into();
        let digest = password.as_ref().map(|password| self.digests.of(password));
        self.state = State::Checking {
            module: module.clone(),
            digest,
            first: message.report,
        };
        Some(Effect::Check { module, password })
    }

    /// Handles the result of the password check. On success, returns the report of the first frame.
    pub fn judged(&mut self, result: Result<bool, ()>, now: Millis) -> Option<Effect> {
        let State::Checking {
            module,
            digest,
            first,
        } = std::mem::replace(&mut self.state, State::Gone)
        else {
            return None;
        };
        match result {
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

    /// Returns the time at which [`Self::on_timer`] should be called next.
    pub fn next_time(&self) -> Option<Millis> {
        match &self.state {
            State::Stranger { until } => Some(*until),
            State::Known {
                ping_at, pong_by, ..
            } => Some(pong_by.unwrap_or(*ping_at)),
            State::Checking { .. } | State::Gone => None,
        }
    }

    /// Handles the expiry of a timer.
    pub fn on_time(&mut self, now: Millis) -> Option<Effect> {
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
