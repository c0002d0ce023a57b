//! Authentication by token, and the permissions of the authenticated user.
//!
//! Nothing ambient ever authenticates: no cookie, no address, no header that a browser adds by
//! itself; only a token or an API key that the client presents. A token, a secret and a key never
//! reach a log, an error or a metric.

mod api_key;
mod claims;
mod introspection;
mod issue;
mod issuer_client;
mod jwk;
mod jwks;
mod key;
mod numeric_date;
mod permission_lease;
mod permission_subject;
mod policy;
mod principal;
mod settings;
mod signature;
mod signed_part;
#[cfg(any(test, feature = "testing"))]
pub mod test_keys;
mod token_error;
mod token_lifetime;
mod token_sender;
mod verifier;

pub use latido_base::secret::Secret;

pub use api_key::{ApiKey, InvalidApiKey};
pub use introspection::IntrospectionConfig;
#[cfg(any(test, fuzzing, feature = "testing"))]
pub use issue::sign_raw;
pub use issue::{IssueError, TokenSpec, issue};
pub use issuer_client::check_url;
pub use jwks::JwksTimings;
pub use key::{KeyError, MIN_SECRET_BYTES, check_public_keys, check_secret};
pub use latido_stream::{
    PermissionBatchFuture, PermissionFuture, PermissionLookupError, PermissionQuestion,
    PermissionSource,
};
pub use numeric_date::LEEWAY_S;
pub use permission_lease::PermissionLease;
pub use permission_subject::{PermissionSubject, TokenClaims};
pub use policy::{Config as PolicyConfig, Decision, Policy};
pub use principal::{Grants, Principal, VerifiedToken};
pub use settings::{
    KeyRequirement, VARIABLES, read_issuer, read_issuer_url, read_public_keys, warn_if_short,
};
pub use signature::MAX_TOKEN_BYTES;
pub use token_error::{Immediate, TokenError};
pub use token_lifetime::{REVOCATION_CHECK, TokenEnd, TokenLifetime};
pub use token_sender::TokenSender;
pub use verifier::{Config as VerifierConfig, Verifier};
