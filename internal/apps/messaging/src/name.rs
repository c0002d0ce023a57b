//! The name of the app.

/// The app's name in `LATIDO_APPS` and in the operators' views.
pub(crate) const NAME: &str = "messaging";
