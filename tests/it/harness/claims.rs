//! Signs test tokens in the same way as the REST API.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::Value;

/// The signing secret, longer than the required minimum. Only tests use it.
pub(crate) const SECRET: &str = "a secret for tests only, of more than 32 bytes";

/// Returns the current time in Unix seconds.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_secs()).expect("in range")
}

/// Signs any claims with any secret.
pub(crate) fn sign_with(secret: &str, claims: &Value) -> String {
    jsonwebtoken::encode(
        &Header::default(),
        claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .expect("a token")
}
