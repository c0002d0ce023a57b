//! The authentication of devices, and the messages that follow it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use latido_auth::Secret;
use latido_postgres::DatabaseError;

use crate::app::ModulesApp;
use crate::device::frame;
use crate::device::password;
use crate::device::session::{DeviceSession, PasswordCheck};

/// The time limit of a device's password check.
const PASSWORD_CHECK_TIMEOUT: Duration = Duration::from_secs(8);

/// The reason why a password could not be checked.
#[derive(Debug, thiserror::Error)]
enum PasswordCheckError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("the server stops")]
    Stopping(#[from] tokio::sync::AcquireError),
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

    /// Checks a module's password. bcrypt is slow by design, so it runs on a blocking thread, a
    /// limited number at a time.
    pub(super) async fn verify_password(
        &self,
        module: &str,
        password: Option<Secret>,
    ) -> PasswordCheck {
        let check = self.check_password(module, password);
        match timeout(PASSWORD_CHECK_TIMEOUT, check).await {
            Ok(Ok(check)) => check,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a module's password could not be checked");
                PasswordCheck::Unavailable
            }
            Err(_) => PasswordCheck::Unavailable,
        }
    }

    async fn check_password(
        &self,
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
        let permit = Arc::clone(&self.password_check_permits)
            .acquire_owned()
            .await?;
        let hash = credentials
            .and_then(|credentials| credentials.password_hash)
            .map(Secret::new);
        let is_match = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            password::verify(&password, hash.as_ref())
        });
        Ok(PasswordCheck::accepted_if(is_match.await? && is_claimed))
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
