//! The pages in a real browser: Debian's Chromium in headless mode, driven over its DevTools
//! socket.
//!
//! Without Chromium, a test prints a notice and passes; with `CI` set it fails. Screenshots are
//! left in `target/screenshots/`.

mod angular;
mod axe;
mod chromium;
mod demo;
mod operator;
mod page;

use std::env;
use std::io::Write as _;

use chromium::Browser;
use page::{BrowserPage, Screen};

/// A wide desktop window, and a phone below.
const DESKTOP: Screen = Screen {
    width: 1440,
    height: 900,
    is_dark: false,
    reduces_motion: false,
};
const PHONE: Screen = Screen {
    width: 390,
    height: 844,
    is_dark: false,
    reduces_motion: false,
};

/// Reports a test that cannot run here. With `CI` set it fails; otherwise it writes to the
/// process's standard error, because the test runner hides the output of passing tests.
fn report_skipped(what: &str) {
    assert!(env::var_os("CI").is_none(), "not run: {what}");
    let _nobody_listens = writeln!(std::io::stderr(), "\nNOT RUN: {what}");
}
