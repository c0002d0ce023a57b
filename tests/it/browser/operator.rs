//! The operator page: a demo opens it without a token, other servers ask for one. It shows a new
//! session and closes it.

use serde_json::json;

use super::demo::BrowserDemo;
use super::{Browser, DESKTOP, PHONE, Screen, axe};
use crate::harness::{B1, CommandHome, ReservedPort, SYSTEM_ADMIN, TestApp, claims};

const IS_LIVE_JS: &str = "document.querySelector('#connection').dataset.state === 'live'";

#[tokio::test(flavor = "multi_thread")]
async fn demo_opens_the_operator_page_without_a_token() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let home = CommandHome::new();
    let demo = BrowserDemo::start(&home, &ReservedPort::new()).await;
    let origin = format!("http://{}/", demo.address);
    let mut page = browser.open_page(DESKTOP).await;
    page.open(&format!("{origin}dashboard")).await;
    page.wait_until("the page is live", IS_LIVE_JS).await;
    page.wait_until(
        "the table shows this client",
        "document.querySelectorAll('#clients tbody tr').length === 1",
    )
    .await;
    page.wait_until("its charts move", "document.querySelector('[data-tile=memory] .line').getAttribute('d')?.includes('L') === true")
        .await;
    page.wait_until(
        "the database answers",
        "document.querySelector('[data-health=database]').dataset.tone === 'good'",
    )
    .await;
    for (name, look) in [
        ("operator-desktop", DESKTOP),
        (
            "operator-desktop-dark",
            Screen {
                is_dark: true,
                ..DESKTOP
            },
        ),
        ("operator-phone", PHONE),
        (
            "operator-phone-dark",
            Screen {
                is_dark: true,
                reduces_motion: true,
                ..PHONE
            },
        ),
    ] {
        page.set_screen(look).await;
        page.assert_fits().await;
        axe::assert_accessible(&mut page, name).await;
        page.screenshot(name).await;
    }
    page.click("#pause").await;
    page.wait_until(
        "the page pauses",
        "document.querySelector('#pause').getAttribute('aria-pressed') === 'true'",
    )
    .await;
    page.assert_no_errors(&origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_finds_and_closes_a_session() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let app = TestApp::start().await;
    let origin = format!("http://{}/", app.address());
    let token =
        app.sign(&json!({"id": SYSTEM_ADMIN, "rol": "admin_sistema", "exp": claims::now() + 600}));
    let mut client = app
        .connect_socket(
            &app.sign(&json!({"id": "ana", "negocio_id": B1, "exp": claims::now() + 600})),
        )
        .await;
    client.subscribe(&format!("estadisticas:{B1}")).await;

    let mut page = browser.open_page(DESKTOP).await;
    page.open(&format!("{origin}dashboard")).await;
    page.wait_until(
        "the page asks for a token",
        "!document.querySelector('#entry').hidden && document.activeElement.id === 'token'",
    )
    .await;
    axe::assert_accessible(&mut page, "operator-token").await;
    page.screenshot("operator-token").await;
    page.open(&format!("{origin}#elsewhere")).await;
    page.open(&format!("{origin}dashboard#token={token}")).await;
    page.wait_until("the page is live", IS_LIVE_JS).await;
    assert_eq!(
        page.eval("location.href").await,
        format!("{origin}dashboard"),
        "the token is removed from the URL"
    );
    page.wait_until(
        "both are there",
        "document.querySelectorAll('#clients tbody tr').length === 2",
    )
    .await;
    page.click("#filter").await;
    page.type_text("ana").await;
    page.wait_until(
        "one client is listed",
        "document.querySelectorAll('#clients tbody tr').length === 1",
    )
    .await;
    page.click(".row-end").await;
    page.wait_until(
        "the page asks for confirmation",
        "document.querySelector('#end').open",
    )
    .await;
    axe::assert_accessible(&mut page, "operator-close").await;
    page.screenshot("operator-close").await;
    page.click("#end-stay").await;
    assert_eq!(client.wait_for_close_code().await, Some(4403));
    page.wait_until(
        "the page reports it",
        "document.querySelector('#result').innerText.includes('ana')",
    )
    .await;
    page.wait_until(
        "no session is left",
        "document.querySelector('#clients tbody').children.length === 0",
    )
    .await;
    page.assert_no_errors(&origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_values_are_displayed_as_json() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let stream = r#"
        [streams.ventas]
        query = '''
            SELECT u.k, 1234.5 AS total, '{"canal": {"web": 2}, "notas": ["a", null]}'::jsonb AS detalle
            FROM unnest($1::text[], $2::date[]) AS u(k, hoy)'''
        event = "ventas"
        key_field = "tienda"
        tables = [{ table = "ventas", key = "tienda" }]
    "#;
    let app = TestApp::with_streams(stream, "CREATE TABLE ventas (id serial, tienda text)").await;
    let viewer = app.sign(&json!({"id": "ana", "tienda": "uno", "exp": claims::now() + 600}));
    let mut viewer = app.connect_socket(&viewer).await;
    viewer.subscribe_as("ventas:uno", "ventas").await;
    let admin = json!({"id": SYSTEM_ADMIN, "rol": "admin_sistema", "exp": claims::now() + 600});
    let (origin, token) = (format!("http://{}/", app.address()), app.sign(&admin));

    let mut page = browser.open_page(DESKTOP).await;
    page.open(&format!("{origin}dashboard#token={token}")).await;
    page.wait_until("the page is live", IS_LIVE_JS).await;
    page.wait_until(
        "the channel is listed",
        "document.querySelector('#rooms tbody .data')?.innerText.includes('total')",
    )
    .await;
    let data = page.text("#rooms tbody .data").await;
    assert!(
        data.contains(r#"{"canal":{"web":2},"notas":["a",null]}"#) && !data.contains("[object"),
        "{data}"
    );
    for screen in [DESKTOP, PHONE] {
        page.set_screen(screen).await;
        page.assert_fits().await;
    }
    page.assert_no_errors(&origin).await;
}
