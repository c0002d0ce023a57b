//! The authentication of devices, and the messages that follow it.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use latido_auth::Secret;
use latido_postgres::DatabaseError;

use crate::app::ModulesApp;
use crate::device::frame;
use crate::device::password;
use crate::device::session::{DeviceSession, PasswordCheck};
use crate::password_queue::QueueError;

/// The time limit of a device's password check.
const PASSWORD_CHECK_TIMEOUT: Duration = Duration::from_secs(8);

/// The reason why a password could not be checked.
#[derive(Debug, thiserror::Error)]
enum PasswordCheckError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Task(#[from] tokio::task::JoinError),
}

impl ModulesApp {
    /// Returns the session of a device that has not sent anything yet.
    pub(super) fn new_device_session(&self) -> DeviceSession {
        DeviceSession::new(
            self.service.now(),
            self.config.trust_clients,
            self.password_digester.clone(),
        )
    }

    /// Checks a module's password for a device at this address. bcrypt is slow by design, so it
    /// runs on a blocking thread, a limited number at a time.
    pub(super) async fn verify_password(
        &self,
        address: Option<IpAddr>,
        module: &str,
        password: Option<Secret>,
    ) -> PasswordCheck {
        let check = self.check_password(address, module, password);
        match timeout(PASSWORD_CHECK_TIMEOUT, check).await {
            Ok(Ok(check)) => check,
            Ok(Err(PasswordCheckError::Queue(error))) => {
                tracing::debug!(%error, "a module's password was not checked");
                PasswordCheck::Unavailable
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "a module's password could not be checked");
                PasswordCheck::Unavailable
            }
            Err(_) => PasswordCheck::Unavailable,
        }
    }

    async fn check_password(
        &self,
        address: Option<IpAddr>,
        module: &str,
        password: Option<Secret>,
    ) -> Result<PasswordCheck, PasswordCheckError> {
        let credentials = self.store.credentials(module).await?;
        let is_claimed = credentials
            .as_ref()
            .is_some_and(|credentials| credentials.is_claimed);
        let Some(password) = password else {
            return Ok(PasswordCheck::accepted_if(
                is_claimed && self.config.trust_clients,
            ));
        };
        let hash = credentials
            .and_then(|credentials| credentials.password_hash)
            .map(Secret::new);
        let is_known = |hash: &Secret| self.verified_passwords.contains(module, &password, hash);
        if hash.as_ref().is_some_and(is_known) {
            return Ok(PasswordCheck::accepted_if(is_claimed));
        }
        let permit = self.password_queue.acquire(address, module).await?;
        let verifying = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let is_match = password::verify(&password, hash.as_ref());
            hash.filter(|_| is_match).map(|hash| (password, hash))
        });
        let verified = verifying.await?;
        if let Some((password, hash)) = &verified {
            self.verified_passwords.insert(module, password, hash);
        }
        Ok(PasswordCheck::accepted_if(verified.is_some() && is_claimed))
    }

    /// Returns the first two messages to an authenticated device, with its last known state.
    pub(super) fn connected_messages(&self, module: &str) -> [Value; 2] {
        let state = self.service.lock();
        let telemetry = state
            .registry
            .get(module)
            .and_then(|module| module.telemetry.as_deref());
        let last = |name: &str| telemetry.and_then(|telemetry| telemetry.get(name)).cloned();
        frame::connected_messages(
            &last("uptime").unwrap_or(json!(0)),
            &last("position").unwrap_or(Value::Null),
        )
    }
}
