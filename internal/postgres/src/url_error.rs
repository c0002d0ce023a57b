//! The mistakes that a connection URL can have.

use crate::tls::DatabaseTlsError;

const FORM: &str = "postgresql://user:password@host:port/database";

/// An unusable URL. The error never holds the URL, nor any part of it that could be a password.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// No database is configured.
    #[error("missing; expected {FORM}")]
    Missing,
    /// The text is not a PostgreSQL URL.
    #[error("expected {FORM}")]
    Malformed,
    /// A reserved character in the password is not percent-encoded.
    #[error(
        "expected {FORM}, with reserved characters of user and password percent-encoded (@ is %40, / is %2F, ? is %3F, % is %25)"
    )]
    UnescapedCharacter,
    /// The URL contains no host.
    #[error("no host; expected {FORM}, or ?host=/folder/of/the/socket")]
    NoHost,
    /// A parameter is unknown here and to the driver.
    #[error("unknown parameter `{0}`")]
    UnknownParameter(String),
    /// A parameter has an invalid value.
    #[error("parameter `{name}`: expected {expected}")]
    InvalidValue {
        /// The name of the parameter.
        name: &'static str,
        /// The values that are accepted.
        expected: &'static str,
    },
    /// A parameter has no counterpart here.
    #[error("parameter `{name}` is not supported; expected {instead}")]
    Unsupported {
        /// The name of the parameter.
        name: &'static str,
        /// What works instead.
        instead: &'static str,
    },
    /// The driver's error for the rest of the URL; its messages name options, never values.
    #[error("expected {FORM}: {0}")]
    Driver(String),
    /// An error in the certificates that the URL names.
    #[error(transparent)]
    Tls(#[from] DatabaseTlsError),
}
