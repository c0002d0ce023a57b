//! Users claim modules with the code that is printed on them.

use latido_auth::Secret;

use crate::app::ModulesApp;
use crate::user::WebUser;

/// The number of wrong codes per user and per module after which claims are refused, until those
/// codes are forgotten.
const MAX_WRONG_CODES: u32 = 10;

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
        let counters = [
            format!("user:{}", user.id.as_str()),
            format!("module:{module}"),
        ];
        if counters.iter().any(|counter| {
            self.wrong_codes
                .get(counter)
                .is_some_and(|wrong| wrong >= MAX_WRONG_CODES)
        }) {
            return Err(ClaimError::TooManyWrongCodes);
        }
        match self.store.claim(module, code, user.id.as_str()).await {
            Ok(true) => {}
            Ok(false) => {
                for counter in counters {
                    let wrong = self.wrong_codes.get(&counter).unwrap_or_default();
                    self.wrong_codes.insert(counter, wrong + 1);
                }
                return Err(ClaimError::WrongCode);
            }
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
