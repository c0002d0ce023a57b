//! The businesses of the benchmark, and the tokens of their viewers.

use std::time::Duration;

use anyhow::Context as _;
use latido_auth::{Secret, TokenSpec, issue};
use latido_base::clock::Clock;

/// The secret that signs every token of the benchmark.
pub(crate) const SECRET: &str = "the benchmark's own secret: it guards nothing but made-up numbers";

/// The lifetime of the tokens, longer than any run.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Returns the id of business number `index`.
pub(crate) fn key(index: usize) -> String {
    format!("00000000-0000-4000-8000-{index:012x}")
}

/// Returns the channel of business number `index`.
pub(crate) fn channel(index: usize) -> String {
    format!("estadisticas:{}", key(index))
}

/// Returns the message that subscribes to the channel of business number `index`.
pub(crate) fn subscribe(index: usize) -> String {
    format!(r#"{{"type":"subscribe","channel":"{}"}}"#, channel(index))
}

/// Signs a token of user number `user`, who may read business number `index`.
pub(crate) fn token(user: usize, index: usize) -> anyhow::Result<String> {
    let passport = TokenSpec {
        user: format!("user-{user}"),
        negocios: vec![key(index)],
        ..TokenSpec::default()
    };
    issue(&Secret::new(SECRET), &passport, &Clock::system(), LIFETIME).context("signing a token")
}
