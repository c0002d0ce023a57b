//! The pages in a real browser: Debian's Chromium in headless mode, driven over its DevTools
//! socket.
//!
//! Without Chromium, a test prints a notice and passes; with `CI` set it fails. Screenshots are
//! left in `target/screenshots/`.

mod angular;
mod axe;
mod chromium;
mod demo;
mod demo_services;
mod operator;
mod own_streams;
mod page;
mod skipped;
mod trying;

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
