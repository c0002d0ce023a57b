//! The page of `latido try` in a browser: any columns, a change that arrives, and a choice of keys.

use super::{Browser, BrowserPage, DESKTOP, PHONE, Screen, axe};
use crate::harness::cluster::OwnCluster;
use crate::harness::{CommandHome, RunningCommand};

const SCHEMA: &str = "CREATE TABLE pedidos (id bigint GENERATED ALWAYS AS IDENTITY, tienda_id bigint, total numeric, dia date DEFAULT '2026-11-30');
    CREATE VIEW ventas AS SELECT tienda_id, total, dia FROM pedidos;
    INSERT INTO pedidos (tienda_id, total) SELECT 7 + n % 2, n * 1000.5 FROM generate_series(1, 100) n";

const PLAIN: &str = "SELECT count(*) AS pedidos, sum(total) AS total, 9007199254740993::bigint AS grande, NULL::text AS nota, \
    count(*) > 100 AS lleno, max(dia) AS ultimo_dia, timestamp '2026-11-30 08:05' AS abre, \
    '{\"a\": [1, 2]}'::jsonb AS datos, 'Una tienda con un nombre largo' AS nombre FROM ventas";

const KEYED: &str = "SELECT k.tienda_id, k.desde, s.* FROM unnest($1::bigint[], $2::date[], $3::date[]) AS k (tienda_id, hoy, desde) \
    CROSS JOIN LATERAL (SELECT count(*) AS pedidos FROM pedidos p WHERE p.tienda_id = k.tienda_id AND p.dia >= k.desde) s";

/// Starts the command for a query. Returns it with the address of its page.
async fn start(cluster: &OwnCluster, home: &CommandHome, query: &str) -> (RunningCommand, String) {
    home.folder().write("ventas.sql", query);
    let url = cluster.url();
    let variables = [("DATABASE_URL", &*url), ("PORT", "0")];
    let process = home.start(&["try", "ventas.sql"], &variables);
    let line = process
        .wait_for_stdout("the page", |line| line.contains("is live: "))
        .await;
    let (_, page) = line.split_once("is live: ").expect(&line);
    (process, page.to_owned())
}

async fn wait_for_field(page: &mut BrowserPage, field: &str, text: &str) {
    let shown =
        format!("document.querySelector('#fields [data-field={field}]')?.innerText === '{text}'");
    page.wait_until(text, &shown).await;
}

/// Checks every kind of value, and what the page says about the query.
async fn check_values(page: &mut BrowserPage) {
    for (field, text) in [
        ("pedidos", "100"),
        ("total", "5.052.525,0"),
        ("grande", "9.007.199.254.740.993"),
        ("lleno", "no"),
        ("ultimo_dia", "30 nov 2026"),
        ("datos", "{\"a\": [1, 2]}"),
    ] {
        wait_for_field(page, field, text).await;
    }
    let nothing = page
        .eval("document.querySelector('[data-field=nota]').textContent")
        .await;
    assert_eq!(nothing, "–sin valor", "a mark to see, and words to hear");
    assert_eq!(page.text("#connection-text").await, "Lee cada segundo");
    assert_eq!(page.text("#tables th").await, "pedidos");
    assert!(page.text("#notes").await.contains("ventas"));
    assert!(
        page.text("#next")
            .await
            .contains("mv ventas.sql streams/ventas.sql")
    );
}

async fn assert_page_quality(page: &mut BrowserPage) {
    for (name, look) in [
        ("try-desktop", DESKTOP),
        (
            "try-desktop-dark",
            Screen {
                is_dark: true,
                ..DESKTOP
            },
        ),
        ("try-phone", PHONE),
        (
            "try-phone-dark",
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
}

#[tokio::test(flavor = "multi_thread")]
async fn try_page_shows_any_columns_and_their_changes() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = OwnCluster::start(&[]).await;
    let owner = cluster.client().await;
    owner.batch_execute(SCHEMA).await.unwrap();
    let home = CommandHome::new();
    let (process, address) = start(&cluster, &home, PLAIN).await;
    let mut page = browser.open_page(DESKTOP).await;
    page.open(&address).await;
    check_values(&mut page).await;
    let insert = "INSERT INTO pedidos (tienda_id, total) VALUES (7, 1)";
    owner.batch_execute(insert).await.unwrap();
    wait_for_field(&mut page, "pedidos", "101").await;
    wait_for_field(&mut page, "lleno", "sí").await;
    page.wait_until(
        "the time of the change",
        "/Último cambio/.test(document.querySelector('#changed').innerText)",
    )
    .await;
    assert_page_quality(&mut page).await;
    page.click("#language").await;
    wait_for_field(&mut page, "total", "5,052,526.0").await;
    page.assert_no_errors(&address).await;

    home.folder()
        .write("ventas.sql", "SELECT count(*) AS otra FROM pedidos");
    wait_for_field(&mut page, "otra", "101").await;
    home.folder()
        .write("ventas.sql", "SELECT nada FROM pedidos");
    page.wait_until(
        "the mistake",
        "/nada[^]*\\^/.test(document.querySelector('#notice').innerText)",
    )
    .await;
    page.set_screen(DESKTOP).await;
    page.screenshot("try-mistake").await;
    page.assert_no_errors(&address).await;
    drop(process);
    page.wait_until(
        "the page reports the outage in words",
        "document.querySelector('#connection').dataset.state === 'reconnecting'",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn try_page_asks_for_a_key_and_offers_some() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = OwnCluster::start(&[]).await;
    cluster.client().await.batch_execute(SCHEMA).await.unwrap();
    let home = CommandHome::new();
    let (_process, address) = start(&cluster, &home, KEYED).await;
    let mut page = browser.open_page(PHONE).await;
    page.open(&address).await;
    page.wait_until("the form", "!document.querySelector('#form').hidden")
        .await;
    page.wait_until(
        "nothing is read yet",
        "document.querySelector('#connection-text').innerText === 'Falta elegir qué mostrar'",
    )
    .await;
    page.eval("document.querySelector('#part-1').value = '2026-11-01'")
        .await;
    axe::assert_accessible(&mut page, "try-form").await;
    page.screenshot("try-form").await;
    page.click("#example-list li:last-child button").await;
    wait_for_field(&mut page, "pedidos", "50").await;
    assert_eq!(
        page.eval("decodeURIComponent(location.hash)").await,
        "#8?desde=2026-11-01"
    );
    page.eval("window.isOld = true; location.reload()").await;
    page.wait_until("another document", "!window.isOld && !!document.body")
        .await;
    wait_for_field(&mut page, "pedidos", "50").await;
    page.assert_fits().await;
    page.screenshot("try-keyed").await;
    page.eval(
        "document.querySelector('#part-0').value = 'x'; document.querySelector('#part-0').focus()",
    )
    .await;
    page.press("Enter").await;
    page.wait_until(
        "the mistake",
        "/expected an integer/.test(document.querySelector('#notice').innerText)",
    )
    .await;
    page.assert_no_errors(&address).await;
}
