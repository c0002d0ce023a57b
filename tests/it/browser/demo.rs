//! The demo page as a user of `make run` sees it: numbers, a booking, a killed server, and the
//! messages the page shows about that.

use std::net::SocketAddr;

use rustix::process::Signal;
use tokio_postgres::Client;

use super::{Browser, BrowserPage, DESKTOP, PHONE, Screen, axe};
use crate::harness::cluster::connect;
use crate::harness::{CommandHome, ReservedPort, RunningCommand, TEST_TIMEOUT};

const BUSINESS: &str = latido_demo::BUSINESSES[0].id;

/// A demo on a port at which it can be started again.
pub(super) struct BrowserDemo {
    pub(super) process: RunningCommand,
    pub(super) address: SocketAddr,
    pub(super) database: Client,
}

impl BrowserDemo {
    pub(super) async fn start(home: &CommandHome, port: &ReservedPort) -> Self {
        let state = home.folder().path().join("state");
        let port = port.number();
        let variables = [
            ("XDG_STATE_HOME", state.to_str().expect("UTF-8")),
            ("PORT", &port),
            ("REUSE_PORT", "true"),
            ("SHUTDOWN_SECONDS", "60"),
        ];
        let process = home.start(&["demo"], &variables);
        let line = process
            .wait_for_stdout("its database", |line| line.contains("psql "))
            .await;
        let url = line
            .split_once("psql ")
            .expect("the mark is in the line")
            .1
            .trim()
            .trim_matches('\'')
            .to_owned();
        let address = process.ready_address().await;
        Self {
            process,
            address,
            database: connect(&url).await,
        }
    }

    pub(super) fn page(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Books the given number of citas of the first business directly in the database.
    pub(super) async fn book(&self, count: u32) {
        let sql = format!(
            "INSERT INTO citas (negocio_id, cliente_id, estacion_id, servicio_id, fecha, hora_inicio, hora_fin)
             SELECT negocio_id, cliente_id, estacion_id, servicio_id, fecha, hora_inicio, hora_fin
             FROM citas CROSS JOIN generate_series(1, {count}) WHERE id = (SELECT min(id::text)::uuid FROM citas WHERE negocio_id = '{BUSINESS}')"
        );
        self.database.batch_execute(&sql).await.expect("booked");
    }

    pub(super) async fn total(&self) -> i64 {
        let count = format!("SELECT count(*) FROM citas WHERE negocio_id = '{BUSINESS}'");
        self.database
            .query_one(&count, &[])
            .await
            .expect("a count")
            .get(0)
    }
}

/// Returns a number of the first card as displayed, with its digits grouped by dots.
async fn displayed_number(page: &mut BrowserPage, field: &str) -> i64 {
    let text = page
        .text(&format!("#cards article:first-child [data-field={field}]"))
        .await;
    text.chars()
        .filter(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .unwrap_or(-1)
}

pub(super) async fn wait_until_live(page: &mut BrowserPage) {
    page.wait_until(
        "the page is live",
        "document.querySelector('#connection').dataset.state === 'live'",
    )
    .await;
    page.wait_until(
        "every card has numbers",
        "document.querySelectorAll('#cards article time[datetime]').length === 4",
    )
    .await;
}

/// Waits until the page shows the table's numbers. The demo keeps writing meanwhile.
async fn wait_until_numbers_match(page: &mut BrowserPage, demo: &BrowserDemo) {
    let matching = async {
        while displayed_number(page, "total_citas").await != demo.total().await {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let matches = tokio::time::timeout(TEST_TIMEOUT, matching).await;
    assert!(matches.is_ok(), "the page never shows what the table holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_page_survives_a_server_restart() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let home = CommandHome::new();
    let port = ReservedPort::new();
    let demo = BrowserDemo::start(&home, &port).await;
    let mut page = browser.open_page(DESKTOP).await;
    page.open(&demo.page()).await;
    wait_until_live(&mut page).await;
    assert_eq!(page.text("#connection-text").await, "En vivo");
    wait_until_numbers_match(&mut page, &demo).await;
    check_live_numbers(&mut page, &demo).await;
    assert_page_quality(&mut page).await;
    page.assert_no_errors(&demo.page()).await;

    demo.process.signal(Signal::KILL);
    drop(demo);
    page.wait_until(
        "the page reports the outage in words",
        "/Reconectando/.test(document.querySelector('#connection').innerText)",
    )
    .await;
    assert_eq!(
        page.eval("document.querySelector('#connection').getAttribute('role')")
            .await,
        "status",
        "and announces it to screen readers"
    );
    axe::assert_accessible(&mut page, "reconnecting").await;
    page.screenshot("demo-reconnecting").await;

    let demo = BrowserDemo::start(&home, &port).await;
    wait_until_live(&mut page).await;
    wait_until_numbers_match(&mut page, &demo).await;
    // Only requests that the stopped server could not answer, or the new one before it was ready.
    let errors = page.take_errors().await;
    let is_of_stopped_server = |text: &String| {
        let kinds = ["ERR_", "WebSocket connection to", "Failed to load"];
        kinds.iter().any(|kind| text.contains(kind))
            || (text.starts_with("503: ") && text.ends_with("/ready\""))
    };
    assert!(errors.iter().all(is_of_stopped_server), "{errors:#?}");
    demo.book(1).await;
    wait_until_numbers_match(&mut page, &demo).await;
    page.assert_no_errors(&demo.page()).await;
}

async fn assert_page_quality(page: &mut BrowserPage) {
    for (name, look) in [
        ("demo-desktop", DESKTOP),
        (
            "demo-desktop-dark",
            Screen {
                is_dark: true,
                ..DESKTOP
            },
        ),
        ("demo-phone", PHONE),
        (
            "demo-phone-dark",
            Screen {
                is_dark: true,
                reduces_motion: true,
                ..PHONE
            },
        ),
    ] {
        page.set_screen(look).await;
        page.assert_fits().await;
        axe::assert_accessible(page, name).await;
        page.screenshot(name).await;
    }
    page.set_screen(DESKTOP).await;
}

async fn check_live_numbers(page: &mut BrowserPage, demo: &BrowserDemo) {
    let before = displayed_number(page, "total_citas").await;
    demo.book(500).await;
    page.wait_until(
        "five hundred more",
        &format!("+document.querySelector('#cards [data-field=total_citas]').innerText.replace(/\\D/g, '') >= {}", before + 500),
    )
    .await;
    wait_until_numbers_match(page, demo).await;
    page.click("#cards article:first-child .book").await;
    page.wait_until(
        "the cita is booked",
        "document.querySelector('#cards .book').innerText.includes('Reservada')",
    )
    .await;
    page.click("#language").await;
    page.wait_until(
        "the page is in English",
        "document.documentElement.lang === 'en' && document.querySelector('#connection-text').innerText === 'Live'",
    )
    .await;
    page.click("#language").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_asks_for_a_token_without_a_demo() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let app = crate::harness::TestApp::start().await;
    let origin = format!("http://{}/", app.address());
    let mut page = browser.open_page(PHONE).await;
    page.open(&origin).await;
    page.wait_until(
        "the page asks for a token",
        "!document.querySelector('#entry').hidden && document.activeElement.id === 'token'",
    )
    .await;
    for (name, look) in [("token-phone", PHONE), ("token-desktop", DESKTOP)] {
        page.set_screen(look).await;
        page.assert_fits().await;
        axe::assert_accessible(&mut page, name).await;
        page.screenshot(name).await;
    }
    page.type_text(&app.token(crate::harness::ADMIN_OF_B1))
        .await;
    page.press("Tab").await;
    page.type_text(crate::harness::B1).await;
    page.press("Enter").await;
    page.wait_until(
        "the page is live",
        "document.querySelector('#connection').dataset.state === 'live'",
    )
    .await;
    app.book(
        &app.connect_database().await,
        crate::harness::B1,
        "pendiente",
        0,
    )
    .await;
    page.wait_until(
        "one cita",
        "document.querySelector('[data-field=total_citas]').innerText === '1'",
    )
    .await;
    page.screenshot("token-live").await;
    page.assert_no_errors(&origin).await;
}
