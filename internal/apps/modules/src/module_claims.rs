//! Users claim modules with the code that is printed on them.

use latido_auth::Secret;

use crate::app::ModulesApp;
use crate::user::WebUser;

/// The reason for refusing to claim a module. The texts are part of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClaimError {
    #[error("Too many wrong codes; try again later")]
    TooManyWrongCodes,
    #[error("No unclaimed module with that code")]
    WrongCode,
    #[error("The module can't be claimed now")]
    Unavailable,
}

impl ModulesApp {
    /// Assigns a module to a user that knows its code. Returns `true` if the module is online.
    ///
    /// # Errors
    /// Returns the reason, which the client receives as text.
    pub(super) async fn claim_module(
        &self,
        user: &WebUser,
        module: &str,
        code: &Secret,
    ) -> Result<bool, ClaimError> {
        let now_s = self.service.now() / 1000;
        self.claim_attempts
            .start(&user.id, module, now_s)
            .map_err(|_| ClaimError::TooManyWrongCodes)?;
        let claimed = self.store.claim(module, code, user.id.as_str()).await;
        if !matches!(claimed, Ok(false)) {
            self.claim_attempts.take_back(&user.id, module);
        }
        match claimed {
            Ok(true) => {}
            Ok(false) => return Err(ClaimError::WrongCode),
            Err(error) => {
                tracing::warn!(%error, "a module could not be claimed");
                return Err(ClaimError::Unavailable);
            }
        }
        // The trigger reports the change as well; the first of the two reads publishes it.
        let _ = self.sync_rows(&[module.to_owned()]).await;
        Ok(self
            .service
            .lock()
            .registry
            .get(module)
            .is_some_and(|module| module.online))
    }
}
