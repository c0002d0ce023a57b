//! The pages in a real browser: Debian's Chromium without a window, driven over its DevTools socket.
//!
//! Where there is no Chromium, a test says so aloud and passes; with `CI` set it fails. Screenshots are left in `target/screenshots/`.

mod angular;
mod axe;
mod chromium;
mod demo;
mod operator;
mod page;

use std::env;
use std::io::Write as _;

use chromium::Browser;
use page::{Look, Page};

/// A wide window, and one in a hand.
const DESKTOP: Look = Look {
    width: 1440,
    height: 900,
    is_dark: false,
    is_calm: false,
};
const PHONE: Look = Look {
    width: 390,
    height: 844,
    is_dark: false,
    is_calm: false,
};

/// What can't be tested here is no success: with `CI` set it is a failure, else it is said past the test runner, which keeps what
/// passing tests print to itself.
fn not_run(what: &str) {
    assert!(env::var_os("CI").is_none(), "not run: {what}");
    let _nobody_listens = writeln!(std::io::stderr(), "\nNOT RUN: {what}");
}
