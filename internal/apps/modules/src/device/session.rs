//! The session of a device connection as a state machine: takes frames and times, returns effects.
//! Pure.

use latido_auth::Secret;

use crate::device::frame::{self, DeviceMessage, DeviceReport};
use crate::device::password::{PasswordDigest, PasswordDigester};
use crate::registry::ModuleId;
use crate::time_format::Millis;

/// The time in which a new connection must identify its module, in milliseconds.
pub(crate) const IDENTIFY_TIMEOUT_MS: Millis = 10_000;
/// The interval between pings to a silent device, and the time in which it must answer, both in
/// milliseconds.
pub(crate) const PING_INTERVAL_MS: Millis = 60_000;
pub(crate) const PONG_TIMEOUT_MS: Millis = 10_000;

/// The reasons to close a connection, each with its WebSocket code. The texts are those that
/// firmware knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceClose {
    IdentifyTimeout,
    MissingCredentials,
    AuthFailed,
    NotAuthenticated,
    InvalidJson,
    NewSession,
    ServerError,
    NoPong,
}

impl DeviceClose {
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::NewSession => 1000,
            Self::InvalidJson => 1003,
            Self::ServerError => 1011,
            Self::IdentifyTimeout
            | Self::MissingCredentials
            | Self::AuthFailed
            | Self::NotAuthenticated
            | Self::NoPong => 1008,
        }
    }

    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::IdentifyTimeout => "Identification timeout",
            Self::MissingCredentials => "Missing credentials",
            Self::AuthFailed => "Authentication failed",
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
pub(crate) enum DeviceEffect {
    /// Sends this text frame to the device.
    Send(String),
    /// Closes the connection; later frames are ignored.
    Close(DeviceClose),
    /// Checks a password; the result goes to [`DeviceSession::on_auth_result`].
    CheckPassword {
        module: ModuleId,
        password: Option<Secret>,
    },
    /// Passes a report of the authenticated module to the service.
    Report(ModuleId, DeviceReport),
}

#[derive(Debug)]
enum DeviceState {
    /// The device has not identified itself yet.
    Unidentified { expires_at: Millis },
    /// The password is being checked; the report of the first frame waits for the result.
    Checking {
        module: ModuleId,
        digest: Option<PasswordDigest>,
        first: DeviceReport,
    },
    /// The device is authenticated as this module.
    Authenticated {
        module: ModuleId,
        digest: Option<PasswordDigest>,
        ping_at: Millis,
        pong_by: Option<Millis>,
    },
    /// The connection is closed or closing.
    Closed,
}

/// The session; see the module's documentation.
#[derive(Debug)]
pub(crate) struct DeviceSession {
    state: DeviceState,
    /// The module after authentication. It stays set after a close, because the disconnect must
    /// still be reported.
    authenticated_module: Option<ModuleId>,
    /// `true` if a device may connect without a password.
    trusts_clients: bool,
    password_digester: PasswordDigester,
}

/// The result of [`DeviceEffect::CheckPassword`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PasswordCheck {
    /// The password is the module's, and the module is claimed.
    Accepted,
    /// The password is wrong, or the module is not claimed.
    Rejected,
    /// The check is not possible now.
    Unavailable,
}

impl PasswordCheck {
    /// Returns [`Self::Accepted`] or [`Self::Rejected`].
    pub(crate) fn accepted_if(is_accepted: bool) -> Self {
        if is_accepted {
            Self::Accepted
        } else {
            Self::Rejected
        }
    }
}

impl DeviceSession {
    pub(crate) fn new(
        now: Millis,
        trusts_clients: bool,
        password_digester: PasswordDigester,
    ) -> Self {
        Self {
            state: DeviceState::Unidentified {
                expires_at: now + IDENTIFY_TIMEOUT_MS,
            },
            authenticated_module: None,
            trusts_clients,
            password_digester,
        }
    }

    /// Returns the authenticated module, also after the session was closed.
    pub(crate) fn module(&self) -> Option<&ModuleId> {
        self.authenticated_module.as_ref()
    }

    /// Handles a text frame of the device.
    pub(crate) fn on_text(&mut self, text: &str, now: Millis) -> Option<DeviceEffect> {
        match frame::parse(text) {
            Some(message) => self.on_message(message, now),
            None => self.close(DeviceClose::InvalidJson),
        }
    }

    /// Handles a frame that is already parsed.
    pub(crate) fn on_message(
        &mut self,
        message: DeviceMessage,
        now: Millis,
    ) -> Option<DeviceEffect> {
        match &mut self.state {
            DeviceState::Closed => None,
            DeviceState::Unidentified { .. } => self.on_first_message(message),
            // Some firmware repeats its first frame while its password is being checked.
            DeviceState::Checking { .. } => None,
            DeviceState::Authenticated {
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
                    (Some(password), Some(digest)) => {
                        self.password_digester.digest(password).matches(digest)
                    }
                    _ => true,
                };
                if !same_module || !same_password {
                    return self.close(DeviceClose::AuthFailed);
                }
                // Any frame proves that the device is alive.
                (*ping_at, *pong_by) = (now + PING_INTERVAL_MS, None);
                Some(DeviceEffect::Report(module.clone(), message.report))
            }
        }
    }

    fn on_first_message(&mut self, message: DeviceMessage) -> Option<DeviceEffect> {
        let DeviceReport::Identify(_) = message.report else {
            return self.close(DeviceClose::NotAuthenticated);
        };
        let (Some(module), password) = (message.module, message.password) else {
            return self.close(DeviceClose::MissingCredentials);
        };
        if password.is_none() && !self.trusts_clients {
            return self.close(DeviceClose::MissingCredentials);
        }
        let module: ModuleId = module.into();
        let digest = password
            .as_ref()
            .map(|password| self.password_digester.digest(password));
        self.state = DeviceState::Checking {
            module: module.clone(),
            digest,
            first: message.report,
        };
        Some(DeviceEffect::CheckPassword { module, password })
    }

    /// Handles the result of the password check. On success, returns the report of the first frame.
    pub(crate) fn on_auth_result(
        &mut self,
        result: PasswordCheck,
        now: Millis,
    ) -> Option<DeviceEffect> {
        let DeviceState::Checking {
            module,
            digest,
            first,
        } = std::mem::replace(&mut self.state, DeviceState::Closed)
        else {
            return None;
        };
        match result {
            PasswordCheck::Accepted => {
                self.authenticated_module = Some(module.clone());
                self.state = DeviceState::Authenticated {
                    module: module.clone(),
                    digest,
                    ping_at: now + PING_INTERVAL_MS,
                    pong_by: None,
                };
                Some(DeviceEffect::Report(module, first))
            }
            PasswordCheck::Rejected => Some(DeviceEffect::Close(DeviceClose::AuthFailed)),
            PasswordCheck::Unavailable => Some(DeviceEffect::Close(DeviceClose::ServerError)),
        }
    }

    /// Returns the time at which [`Self::on_timer`] should be called next.
    pub(crate) fn next_timer(&self) -> Option<Millis> {
        match &self.state {
            DeviceState::Unidentified { expires_at: until } => Some(*until),
            DeviceState::Authenticated {
                ping_at, pong_by, ..
            } => Some(pong_by.unwrap_or(*ping_at)),
            DeviceState::Checking { .. } | DeviceState::Closed => None,
        }
    }

    /// Handles the expiry of a timer.
    pub(crate) fn on_timer(&mut self, now: Millis) -> Option<DeviceEffect> {
        match &mut self.state {
            DeviceState::Unidentified { expires_at: until } if now >= *until => {
                self.close(DeviceClose::IdentifyTimeout)
            }
            DeviceState::Authenticated {
                pong_by: Some(by), ..
            } if now >= *by => self.close(DeviceClose::NoPong),
            DeviceState::Authenticated {
                ping_at,
                pong_by: pong_by @ None,
                ..
            } if now >= *ping_at => {
                (*ping_at, *pong_by) = (now + PING_INTERVAL_MS, Some(now + PONG_TIMEOUT_MS));
                Some(DeviceEffect::Send(frame::ping_frame(now).to_string()))
            }
            _ => None,
        }
    }

    fn close(&mut self, close: DeviceClose) -> Option<DeviceEffect> {
        self.state = DeviceState::Closed;
        Some(DeviceEffect::Close(close))
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
