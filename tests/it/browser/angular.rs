//! The Angular dashboard of `clients/demo`, built and served as in its README: numbers, a booking,
//! a killed server, and the messages it shows about that.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::ToSpan as _;
use rustix::process::Signal;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::demo::BrowserDemo;
use super::skipped::report_skipped;
use super::{Browser, BrowserPage, DESKTOP, PHONE, Screen, axe};
use crate::harness::{ADMIN_OF_B1, B1, CommandHome, ReservedPort, TEST_TIMEOUT, TestApp};

/// A large screen, seen from across a room.
const WALL_SCREEN: Screen = Screen {
    width: 2560,
    height: 1440,
    is_dark: true,
    reduces_motion: false,
};
const READY_PREFIX: &str = "The dashboard is running: ";

/// The result of the build, which runs once for all tests and takes a minute.
static BUILD_RESULT: OnceCell<bool> = OnceCell::const_new();

/// The served dashboard in front of a server. Dropping the value ends it.
struct AngularDashboard {
    process: Child,
    page: String,
}

impl AngularDashboard {
    /// Starts the dashboard. Returns `None` if it cannot be built here, which the build reports.
    async fn start(server: SocketAddr) -> Option<Self> {
        if !*BUILD_RESULT
            .get_or_init(|| async { spawn_blocking(build).await.expect("the task ends") })
            .await
        {
            return None;
        }
        let mut command = Command::new("node");
        command
            .arg(clients_dir().join("demo/serve/main.mjs"))
            .args(["--server", &format!("http://{server}/"), "--port", "0"]);
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let line = spawn_blocking(move || {
            lines.find(|line| {
                line.as_ref()
                    .is_ok_and(|line| line.starts_with(READY_PREFIX))
            })
        });
        let line = line
            .await
            .expect("the task ends")
            .expect("the command prints its address")
            .expect("a text");
        Some(Self {
            process,
            page: line.trim_start_matches(READY_PREFIX).to_owned(),
        })
    }
}

impl Drop for AngularDashboard {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _ = self.process.wait();
    }
}

fn clients_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// Builds the libraries and the dashboard. Prints the reason if that is not possible.
fn build() -> bool {
    let version = Command::new("node")
        .arg("--version")
        .output()
        .ok()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let numbers = version
        .as_deref()
        .unwrap_or_default()
        .trim()
        .trim_start_matches('v')
        .split('.')
        .flat_map(str::parse::<u32>);
    if numbers.collect::<Vec<_>>() < vec![20, 19] {
        report_skipped("the Angular dashboard, for want of Node 20.19 or later");
        return false;
    }
    if !clients_dir()
        .join("node_modules/.package-lock.json")
        .is_file()
    {
        npm(&["ci", "--no-audit", "--no-fund"]);
    }
    npm(&["run", "build"]);
    true
}

fn npm(arguments: &[&str]) {
    let output = Command::new("npm")
        .args(arguments)
        .current_dir(clients_dir())
        .stdin(Stdio::null())
        .output()
        .expect("npm starts");
    let printed = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "npm {arguments:?}: {}",
        String::from_utf8_lossy(&printed)
    );
}

async fn wait_until_live(page: &mut BrowserPage) {
    page.wait_until(
        "the page is live",
        "document.querySelector('.link')?.dataset.tone === 'good'",
    )
    .await;
    page.wait_until(
        "the page shows numbers",
        "/\\d/.test(document.querySelector('[data-field=citas_hoy] .said')?.textContent)",
    )
    .await;
}

/// Returns a number from its screen-reader text, whose digits are grouped with dots.
async fn displayed_number(page: &mut BrowserPage, field: &str) -> i64 {
    let text = page.text(&format!("[data-field={field}] dd .said")).await;
    text.chars()
        .filter(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .unwrap_or(-1)
}

/// Waits until the page shows the table's numbers. The demo keeps writing meanwhile.
async fn wait_until_numbers_match(page: &mut BrowserPage, demo: &BrowserDemo) {
    let matching = async {
        while displayed_number(page, "total_citas").await != demo.total().await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let matches = tokio::time::timeout(TEST_TIMEOUT, matching).await;
    assert!(
        matches.is_ok(),
        "the dashboard never shows what the table holds"
    );
}

/// Checks a screenshot, accessibility, and that the page does not scroll sideways.
async fn assert_page_quality(page: &mut BrowserPage, name: &str) {
    page.assert_fits().await;
    axe::assert_accessible(page, name).await;
    page.screenshot(name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn angular_dashboard_survives_a_server_restart() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let home = CommandHome::new();
    let port = ReservedPort::new();
    let demo = BrowserDemo::start(&home, &port).await;
    let Some(dashboard) = AngularDashboard::start(demo.address).await else {
        return;
    };
    let mut page = browser.open_page(DESKTOP).await;
    page.open(&dashboard.page).await;
    wait_until_live(&mut page).await;
    wait_until_numbers_match(&mut page, &demo).await;
    let before = displayed_number(&mut page, "total_citas").await;
    demo.book(500).await;
    let digits =
        "document.querySelector('[data-field=total_citas] .said').textContent.replace(/\\D/g, '')";
    page.wait_until(
        "five hundred more",
        &format!("+{digits} >= {}", before + 500),
    )
    .await;
    wait_until_numbers_match(&mut page, &demo).await;
    check_every_screen(&mut page).await;
    page.assert_no_errors(&dashboard.page).await;

    demo.process.signal(Signal::KILL);
    drop(demo);
    page.wait_until(
        "the page reports the outage in words",
        "/Reconectando/.test(document.querySelector('.link [role=status]').innerText)",
    )
    .await;
    page.wait_until(
        "in amber, its numbers in grey",
        "!!document.querySelector('.link[data-tone=warn]') && !!document.querySelector('.numbers.old')",
    )
    .await;
    assert_page_quality(&mut page, "angular-reconnecting").await;
    page.wait_until(
        "and red, when it lasts",
        "document.querySelector('.link').dataset.tone === 'bad'",
    )
    .await;
    assert!(
        page.text(".link [role=status]")
            .await
            .starts_with("Sin conexión desde")
    );
    assert_page_quality(&mut page, "angular-down").await;

    let demo = BrowserDemo::start(&home, &port).await;
    page.click(".link button").await;
    wait_until_live(&mut page).await;
    wait_until_numbers_match(&mut page, &demo).await;
    page.wait_until(
        "nothing is old any more",
        "!document.querySelector('.old, .notice')",
    )
    .await;
    // Only requests that the stopped server could not answer.
    let is_of_stopped_server = |text: &String| {
        text.contains("ERR_") || text.contains("WebSocket connection to") || text.contains("502")
    };
    let errors = page.take_errors().await;
    assert!(errors.iter().all(is_of_stopped_server), "{errors:#?}");
    demo.book(1).await;
    wait_until_numbers_match(&mut page, &demo).await;
    page.assert_no_errors(&dashboard.page).await;
}

async fn check_every_screen(page: &mut BrowserPage) {
    for (name, look) in [
        ("angular-desktop", DESKTOP),
        (
            "angular-desktop-dark",
            Screen {
                is_dark: true,
                ..DESKTOP
            },
        ),
        ("angular-phone", PHONE),
        (
            "angular-phone-dark",
            Screen {
                is_dark: true,
                reduces_motion: true,
                ..PHONE
            },
        ),
    ] {
        page.set_screen(look).await;
        assert_page_quality(page, name).await;
    }
    page.set_screen(WALL_SCREEN).await;
    page.click(".heading .secondary").await;
    page.wait_until(
        "all four cards are shown",
        "document.querySelectorAll('.tile time').length === 4",
    )
    .await;
    assert_page_quality(page, "angular-wall").await;
    page.set_screen(PHONE).await;
    assert_page_quality(page, "angular-wall-phone").await;
    page.set_screen(DESKTOP).await;
    page.click(".tile h2 button").await;
    page.click(".tools .quiet:last-child").await;
    page.wait_until(
        "the page is in English",
        "document.documentElement.lang === 'en' && document.querySelector('.link').innerText.startsWith('Live')",
    )
    .await;
    page.click(".tools .quiet:last-child").await;
    page.wait_until("and Spanish", "document.documentElement.lang === 'es'")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn angular_dashboard_asks_for_a_token_without_a_demo() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let app = TestApp::start().await;
    let Some(dashboard) = AngularDashboard::start(app.address()).await else {
        return;
    };
    let mut page = browser.open_page(PHONE).await;
    page.open(&dashboard.page).await;
    page.wait_until(
        "the page asks for a token",
        "document.activeElement?.id === 'token'",
    )
    .await;
    assert_page_quality(&mut page, "angular-token-phone").await;
    page.set_screen(DESKTOP).await;
    assert_page_quality(&mut page, "angular-token").await;

    page.type_text(&app.token(ADMIN_OF_B1)).await;
    page.press("Tab").await;
    page.type_text(&format!("{B1} Taller Vera")).await;
    page.click(".entry .primary").await;
    wait_until_live(&mut page).await;
    assert_eq!(page.text("h1").await, "Taller Vera");
    app.book(&app.connect_database().await, B1, "pendiente", 0)
        .await;
    page.wait_until(
        "one cita",
        "document.querySelector('[data-field=total_citas] .said').textContent === '1'",
    )
    .await;
    page.screenshot("angular-token-live").await;
    page.assert_no_errors(&dashboard.page).await;

    app.clock().set(app.clock().now() + 2.hours());
    page.wait_until(
        "the token has expired",
        "document.querySelector('.link').dataset.tone === 'bad'",
    )
    .await;
    assert_eq!(page.text(".link [role=status]").await, "Desconectado");
    assert_page_quality(&mut page, "angular-closed").await;
    page.click(".notice .secondary").await;
    page.wait_until(
        "the page requests another token",
        "document.activeElement?.id === 'token'",
    )
    .await;
}
