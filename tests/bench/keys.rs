//! The businesses that the benchmark watches, and tokens for their viewers.

use std::time::Duration;

use anyhow::Context as _;
use latido::auth::{Passport, Secret, issue};
use latido::clock::Clock;

/// Signs every token here.
pub(crate) const SECRET: &str = "the benchmark's own secret: it guards nothing but made-up numbers";

/// Longer than any run.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The id of business number `index`.
pub(crate) fn key(index: usize) -> String {
    format!("00000000-0000-4000-8000-{index:012x}")
}

/// The channel of business number `index`.
pub(crate) fn channel(index: usize) -> String {
    format!("estadisticas:{}", key(index))
}

/// The message that subscribes to it.
pub(crate) fn subscribe(index: usize) -> String {
    format!(r#"{{"type":"subscribe","channel":"{}"}}"#, channel(index))
}

/// A token of user number `user` who may read business number `index`.
pub(crate) fn token(user: usize, index: usize) -> anyhow::Result<String> {
    let passport = Passport {
        user: format!("user-{user}"),
        negocios: vec![key(index)],
        ..Passport::default()
    };
    issue(&Secret::new(SECRET), &passport, &Clock::system(), LIFETIME).context("signing a token")
}
