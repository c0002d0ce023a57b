//! The name of the app.

/// The app's name in `LATIDO_APPS`.
pub(crate) const NAME: &str = "modules";
