//! A Chromium for one test. It starts with an empty profile, and dropping the value ends it.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getuid, kill_process_group, test_kill_process_group};
use serde_json::Value;

use super::page::{BrowserPage, Screen};
use super::skipped::report_skipped;
use crate::harness::{TempFolder, http_client, wait_until};

/// The usual names of the program, and its path on macOS.
const PROGRAMS: [&str; 5] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/// Flags for Spanish, headless mode, and no background requests to the internet.
const FLAGS: [&str; 14] = [
    "--headless=new",
    "--remote-debugging-port=0",
    "--lang=es-EC",
    "--accept-lang=es-EC",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--mute-audio",
];

/// A running headless browser process.
pub(super) struct Browser {
    child: Child,
    port: u16,
    /// The profile folder, removed last, when no process writes to it any more.
    profile: TempFolder,
}

impl Browser {
    /// Starts a browser. Returns `None` if Chromium is not installed, after reporting it.
    pub(super) async fn start() -> Option<Self> {
        let Some(program) = find_program() else {
            report_skipped(
                "a browser's test, for want of chromium (sudo apt-get install chromium)",
            );
            return None;
        };
        let profile = TempFolder::new();
        let mut command = Command::new(program);
        command
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank");
        if getuid().is_root() {
            // Chromium's sandbox refuses to run as root. The pages are trusted.
            command.arg("--no-sandbox");
        }
        // Chromium has many processes; a process group ends them together.
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut browser = Self {
            child: command.spawn().expect("chromium starts"),
            port: 0,
            profile,
        };
        let file = browser.profile.path().join("DevToolsActivePort");
        wait_until("chromium listens", async || {
            assert!(
                browser.child.try_wait().expect("a child process").is_none(),
                "chromium ended at once"
            );
            let text = fs::read_to_string(&file).unwrap_or_default();
            // Chromium writes the second line after the port.
            browser.port = text
                .split_once('\n')
                .and_then(|(port, _)| port.parse().ok())
                .unwrap_or(0);
            browser.port != 0
        })
        .await;
        Some(browser)
    }

    /// Opens a new tab with this screen.
    pub(super) async fn open_page(&self, look: Screen) -> BrowserPage {
        let url = format!("http://127.0.0.1:{}/json/new?about:blank", self.port);
        let answer = http_client()
            .put(url)
            .send()
            .await
            .expect("a response")
            .text()
            .await
            .expect("a text");
        let target: Value = serde_json::from_str(&answer).expect("a target");
        BrowserPage::attach(
            target["webSocketDebuggerUrl"].as_str().expect("an address"),
            look,
        )
        .await
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _ended_already = group.map(|group| kill_process_group(group, Signal::KILL));
        let _ = self.child.wait();
        // Other processes of the group may still write to the profile, which is removed next.
        let lives = || group.is_some_and(|group| test_kill_process_group(group).is_ok());
        let began = Instant::now();
        while lives() && began.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Returns `CHROMIUM`, or else the first of the usual names in `PATH`.
fn find_program() -> Option<PathBuf> {
    if let Some(given) = env::var_os("CHROMIUM") {
        return Some(given.into());
    }
    let folders: Vec<_> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    let candidates = PROGRAMS
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates.into_iter().find(|path| path.is_file())
}
