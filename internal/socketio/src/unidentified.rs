//! The sessions whose clients have not identified themselves yet: limited in number and in bytes.
//!
//! The transports keep an unfinished event in memory until its attachments arrive, and they answer
//! connects to unknown namespaces without asking an app. So the bytes of every packet count until
//! the client is identified.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Config;
use latido_net::client_network;

/// The part of the total bytes that one address may use: an eighth.
const ADDRESS_SHARE: usize = 8;

/// The sessions without identity of one mount.
pub(crate) struct UnidentifiedSessions {
    limits: UnidentifiedLimits,
    /// Locked for a look-up or a few additions.
    state: Mutex<UnidentifiedTotals>,
}

#[derive(Debug)]
struct UnidentifiedLimits {
    sessions: usize,
    sessions_per_address: usize,
    session_bytes: usize,
    /// For all sessions of one address, so that a few addresses cannot shut out all others.
    address_bytes: usize,
    total_bytes: usize,
}

#[derive(Debug, Default)]
struct UnidentifiedTotals {
    sessions: usize,
    by_address: HashMap<IpAddr, AddressTotals>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct AddressTotals {
    sessions: usize,
    bytes: usize,
}

/// The limit that a session without identity exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnidentifiedError {
    /// Too many sessions.
    #[error("too many sessions without identity")]
    Sessions,
    /// Too many sessions from one address.
    #[error("too many sessions without identity from this address")]
    SessionsPerAddress,
    /// Too many bytes.
    #[error("too many bytes before identification")]
    Bytes,
}

/// The permit of one session without identity. It is dropped when the client is identified.
pub(crate) struct UnidentifiedPermit {
    table: Arc<UnidentifiedSessions>,
    address: Option<IpAddr>,
    bytes: usize,
}

impl UnidentifiedSessions {
    pub(crate) fn new(config: &Config) -> Arc<Self> {
        Arc::new(Self {
            limits: UnidentifiedLimits {
                sessions: config.unidentified_sessions,
                sessions_per_address: config.unidentified_sessions_per_address,
                session_bytes: config.unidentified_session_bytes,
                address_bytes: (config.unidentified_total_bytes / ADDRESS_SHARE)
                    .max(config.unidentified_session_bytes),
                total_bytes: config.unidentified_total_bytes,
            },
            state: Mutex::default(),
        })
    }

    /// Admits a new session.
    ///
    /// # Errors
    ///
    /// Fails if too many sessions are not identified yet.
    pub(crate) fn admit(
        self: &Arc<Self>,
        address: Option<IpAddr>,
    ) -> Result<UnidentifiedPermit, UnidentifiedError> {
        let address = address.map(client_network);
        let mut state = self.lock();
        if state.sessions >= self.limits.sessions {
            return Err(UnidentifiedError::Sessions);
        }
        if let Some(address) = address {
            let here = state.by_address.entry(address).or_default();
            if here.sessions >= self.limits.sessions_per_address {
                return Err(UnidentifiedError::SessionsPerAddress);
            }
            here.sessions += 1;
        }
        state.sessions += 1;
        Ok(UnidentifiedPermit {
            table: Arc::clone(self),
            address,
            bytes: 0,
        })
    }

    fn lock(&self) -> MutexGuard<'_, UnidentifiedTotals> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnidentifiedPermit {
    /// Counts bytes from the client.
    ///
    /// # Errors
    ///
    /// Fails if a limit is exceeded. The session must then end.
    pub(crate) fn count(&mut self, bytes: usize) -> Result<(), UnidentifiedError> {
        self.bytes = self.bytes.saturating_add(bytes);
        let mut state = self.table.lock();
        state.bytes = state.bytes.saturating_add(bytes);
        let limits = &self.table.limits;
        let address_bytes = self.address.and_then(|address| {
            let here = state.by_address.get_mut(&address)?;
            here.bytes = here.bytes.saturating_add(bytes);
            Some(here.bytes)
        });
        if self.bytes > limits.session_bytes
            || address_bytes.is_some_and(|bytes| bytes > limits.address_bytes)
            || state.bytes > limits.total_bytes
        {
            Err(UnidentifiedError::Bytes)
        } else {
            Ok(())
        }
    }
}

impl Drop for UnidentifiedPermit {
    fn drop(&mut self) {
        let mut state = self.table.lock();
        state.sessions = state.sessions.saturating_sub(1);
        state.bytes = state.bytes.saturating_sub(self.bytes);
        if let Some(address) = self.address
            && let Some(here) = state.by_address.get_mut(&address)
        {
            here.sessions = here.sessions.saturating_sub(1);
            here.bytes = here.bytes.saturating_sub(self.bytes);
            if here.sessions == 0 {
                state.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Arc<UnidentifiedSessions> {
        UnidentifiedSessions::new(&Config {
            unidentified_sessions: 3,
            unidentified_sessions_per_address: 2,
            unidentified_session_bytes: 100,
            unidentified_total_bytes: 150,
            ..Config::default()
        })
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some([10, 0, 0, last].into())
    }

    #[test]
    fn sessions_without_identity_are_limited() {
        let table = table();
        let error = |address| table.admit(address).err();
        let first = table.admit(address(1)).unwrap();
        let second = table.admit(address(1)).unwrap();
        assert_eq!(
            error(address(1)),
            Some(UnidentifiedError::SessionsPerAddress)
        );
        let _third = table.admit(address(2)).unwrap();
        assert_eq!(error(address(3)), Some(UnidentifiedError::Sessions));
        drop(first);
        let _fourth = table.admit(address(1)).unwrap();
        assert!(table.admit(address(1)).is_err());
        drop(second);
        assert!(table.admit(address(1)).is_ok());
        assert!(table.lock().by_address.len() <= 3);
    }

    #[test]
    fn bytes_before_identification_are_limited_for_one_and_for_all() {
        let table = table();
        let (mut one, mut other) = (table.admit(None).unwrap(), table.admit(None).unwrap());
        assert_eq!(one.count(100), Ok(()));
        assert_eq!(one.count(1), Err(UnidentifiedError::Bytes));
        assert_eq!(
            other.count(60),
            Err(UnidentifiedError::Bytes),
            "both together"
        );
        drop(one);
        assert_eq!(table.lock().bytes, 60);
        drop(other);
        assert_eq!(table.lock().bytes, 0);
    }

    #[test]
    fn bytes_of_one_address_leave_room_for_others() {
        let table = UnidentifiedSessions::new(&Config {
            unidentified_session_bytes: 100,
            unidentified_total_bytes: 1_600,
            ..Config::default()
        });
        let admit = |last| table.admit(address(last)).unwrap();
        let (mut one, mut two, mut three) = (admit(1), admit(1), admit(1));
        assert_eq!((one.count(100), two.count(100)), (Ok(()), Ok(())));
        assert_eq!(three.count(1), Err(UnidentifiedError::Bytes));
        assert_eq!(admit(2).count(100), Ok(()));
        drop((one, two, three));
        assert_eq!(admit(1).count(100), Ok(()));
        assert!(table.lock().by_address.is_empty());
    }
}
