//! The services on the demo page: a chart that a history fills, and a range of days that a user
//! chooses.

use std::time::Duration;

use serde_json::{Value, json};

use super::demo::{BrowserDemo, wait_until_live};
use super::{Browser, BrowserPage, DESKTOP, PHONE, Screen, axe};
use crate::harness::{CommandHome, ReservedPort, TEST_TIMEOUT};

const BUSINESSES: [&str; 2] = [latido_demo::BUSINESSES[0].id, latido_demo::BUSINESSES[2].id];
/// The height of each bar, in parts of the highest.
const HEIGHTS: &str =
    "[...document.querySelectorAll('#days rect')].map((bar) => +bar.getAttribute('height'))";
const MESSAGES: &str =
    "['desde', 'hasta'].map((id) => document.querySelector(`#${id}-error`).innerText)";

/// Whether the numbers have the colour of their labels, as they do while they are old.
const IS_DIMMED: &str = "['#range-citas', '#range-income', '#services-rows td'].every((name) => \
    getComputedStyle(document.querySelector(name)).color === getComputedStyle(document.querySelector('.sheet dt')).color)";

/// Writes dates into fields, all at once. An empty one clears its field.
async fn choose(page: &mut BrowserPage, fields: &[(&str, &str)]) {
    let write = |(id, day): &(&str, &str)| {
        let field = format!("document.getElementById('{id}')");
        format!("{field}.value = '{day}', {field}.dispatchEvent(new Event('input'))")
    };
    let writes: Vec<_> = fields.iter().map(write).collect();
    page.eval(&writes.join(", ")).await;
}

/// Returns the local day of the demo that is so many days ago.
async fn day(demo: &BrowserDemo, ago: i32) -> String {
    let sql = "SELECT ((now() AT TIME ZONE 'America/Guayaquil')::date - $1::int4)::text";
    let row = demo.database.query_one(sql, &[&ago]).await;
    row.expect("a day").get(0)
}

/// Returns the citas of a business between two days.
async fn count(demo: &BrowserDemo, business: &str, from: &str, to: &str) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM citas WHERE negocio_id = '{business}' AND fecha BETWEEN '{from}' AND '{to}'"
    );
    let row = demo.database.query_one(&sql, &[]).await;
    row.expect("a count").get(0)
}

/// Waits until the page shows the citas of a business between two days, and those of the last day at
/// the end of the chart.
async fn wait_until_counted(
    page: &mut BrowserPage,
    demo: &BrowserDemo,
    business: &str,
    [from, to]: [&str; 2],
) {
    let matching = async {
        loop {
            let shown = page.text("#range-citas").await;
            let label = "document.querySelector('#days svg').getAttribute('aria-label')";
            let label = page
                .eval(label)
                .await
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let last = count(demo, business, to, to).await;
            let is_shown = shown == count(demo, business, from, to).await.to_string()
                && label.ends_with(&format!(" {last}."));
            if is_shown {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let matches = tokio::time::timeout(TEST_TIMEOUT, matching).await;
    assert!(matches.is_ok(), "the page never shows what the tables hold");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_follow_the_range_that_a_user_chooses() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let home = CommandHome::new();
    let demo = BrowserDemo::start(&home, &ReservedPort::new()).await;
    let mut page = browser.open_page(DESKTOP).await;
    page.open(&demo.page()).await;
    wait_until_live(&mut page).await;
    let [first, second] = BUSINESSES;
    let (today, before) = (day(&demo, 0).await, day(&demo, 13).await);
    // The writer and the button move the last bar, and the history has filled the others.
    wait_until_counted(&mut page, &demo, first, [&before, &today]).await;
    demo.book(3).await;
    page.click("#cards article:first-child .book").await;
    wait_until_counted(&mut page, &demo, first, [&before, &today]).await;
    assert_bars(&mut page, 14).await;

    let channel = |business: &str, from: &str, to: &str| {
        format!("servicios:{business}?desde={from}&hasta={to}")
    };
    page.take_sent().await;
    let (from, to) = (day(&demo, 10).await, day(&demo, 1).await);
    choose(&mut page, &[("desde", &from), ("hasta", &to)]).await;
    wait_until_counted(&mut page, &demo, first, [&from, &to]).await;
    assert_bars(&mut page, 10).await;
    let left = channel(first, &before, &today);
    assert_replaced(&mut page, &left, &channel(first, &from, &to)).await;

    let choosing = format!(
        "const list = document.getElementById('business'); list.value = '{second}', list.dispatchEvent(new Event('change'))"
    );
    page.eval(&choosing).await;
    wait_until_counted(&mut page, &demo, second, [&from, &to]).await;
    let left = channel(first, &from, &to);
    assert_replaced(&mut page, &left, &channel(second, &from, &to)).await;
    assert_eq!(page.opened_sockets(), 1);
    let (too_early, tomorrow) = (day(&demo, 11).await, day(&demo, -1).await);
    check_mistakes(&mut page, [&from, &to, &too_early, &tomorrow]).await;
    page.assert_no_errors(&demo.page()).await;
}

/// Asserts that the chart has so many bars, none of them empty.
async fn assert_bars(page: &mut BrowserPage, count: usize) {
    let heights = page.eval(HEIGHTS).await;
    let heights = heights.as_array().expect("bars");
    assert_eq!(heights.len(), count, "{heights:?}");
    let is_visible = |height: &Value| height.as_f64() > Some(1.0);
    assert!(heights.iter().all(is_visible), "{heights:?}");
}

/// The citas of each bar, from its height and the scale of the chart.
const BARS: &str = "(() => { const most = +document.querySelector('#days .top').innerText; \
    return [...document.querySelectorAll('#days rect')].map((bar) => Math.round(bar.getAttribute('height') * most / 100)); })()";

#[tokio::test(flavor = "multi_thread")]
async fn chart_follows_changes_of_past_days() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let home = CommandHome::new();
    let demo = BrowserDemo::start(&home, &ReservedPort::new()).await;
    let mut page = browser.open_page(DESKTOP).await;
    page.open(&demo.page()).await;
    wait_until_live(&mut page).await;
    let [business, _] = BUSINESSES;
    let (from, today) = (day(&demo, 13).await, day(&demo, 0).await);
    wait_until_counted(&mut page, &demo, business, [&from, &today]).await;
    let agree = format!(
        "(() => {{ const bars = {BARS}; return bars.reduce((sum, bar) => sum + bar, 0) === +document.querySelector('#range-citas').innerText; }})()"
    );
    page.wait_until("the bars agree with the total", &agree)
        .await;
    page.take_sent().await;
    let began = std::time::Instant::now();
    // The chart's first days lose their citas, one after another.
    for ago in (9..=13).rev() {
        let sql = format!(
            "DELETE FROM citas WHERE negocio_id = '{business}' AND fecha = '{}'",
            day(&demo, ago).await
        );
        demo.database.batch_execute(&sql).await.expect("deleted");
        wait_until_counted(&mut page, &demo, business, [&from, &today]).await;
    }
    let gone = format!("{BARS}.slice(0, 5).every((bar) => bar === 0) && {agree}");
    page.wait_until("the bars of five days are gone", &gone)
        .await;
    let most = 2 + began.elapsed().as_secs() / 2;
    let sent = page.take_sent().await;
    let asked = sent.iter().filter(|frame| frame["type"] == "subscribe");
    let asked = asked.inspect(|frame| assert_eq!(frame["data"]["history"], true));
    assert!((1..=most).contains(&(asked.count() as u64)), "{sent:?}");

    // The total stays as it is when citas move from one past day to another.
    let moved = format!(
        "UPDATE citas SET fecha = '{}' WHERE negocio_id = '{business}' AND fecha = '{}'",
        day(&demo, 10).await,
        day(&demo, 8).await
    );
    demo.database.batch_execute(&moved).await.expect("moved");
    demo.book(1).await;
    let moved = format!("{BARS}[5] === 0 && {BARS}[3] > 0 && {agree}");
    page.wait_until("the bars of the two days have changed", &moved)
        .await;
    assert_reads_rest(&mut page, &demo, [&from, &today]).await;

    let empty = "TRUNCATE citas";
    demo.database.batch_execute(empty).await.expect("emptied");
    let none = format!("{BARS}.slice(0, 13).every((bar) => bar === 0) && {agree}");
    page.wait_until("no bar of a past day is left", &none).await;
    page.assert_no_errors(&demo.page()).await;
}

/// Asserts that the page asks for its history again while its numbers change, at most every 2 s.
async fn assert_reads_rest(page: &mut BrowserPage, demo: &BrowserDemo, range: [&str; 2]) {
    page.take_sent().await;
    let (began, mut asked) = (std::time::Instant::now(), 0);
    let asking = async {
        while asked < 3 {
            demo.book(1).await;
            wait_until_counted(page, demo, BUSINESSES[0], range).await;
            let sent = page.take_sent().await;
            asked += sent.iter().filter(|f| f["type"] == "subscribe").count() as u64;
        }
    };
    let in_time = tokio::time::timeout(TEST_TIMEOUT, asking).await;
    assert!(in_time.is_ok(), "it asks only {asked} times");
    let most = 2 + began.elapsed().as_secs() / 2;
    assert!(asked <= most, "{asked} of {most}");
}

/// Asserts that the page left one channel, and asked for another with its history. Until it leaves, it
/// may ask for the history of the one again.
async fn assert_replaced(page: &mut BrowserPage, before: &str, after: &str) {
    let expected = [
        json!({"type": "unsubscribe", "data": {"channel": before}}),
        json!({"type": "subscribe", "data": {"channel": after, "history": true}}),
    ];
    let sent = page.take_sent().await;
    let subscribe =
        |channel| json!({"type": "subscribe", "data": {"channel": channel, "history": true}});
    let sent: Vec<_> = sent
        .iter()
        .filter(|frame| frame["type"] != "ping" && **frame != subscribe(before))
        .collect();
    assert_eq!(sent, expected.iter().collect::<Vec<_>>());
}

/// A range that is impossible says so beside its field, and changes nothing else.
async fn check_mistakes(page: &mut BrowserPage, [from, to, too_early, tomorrow]: [&str; 4]) {
    let mistakes = [
        ("desde", "", "Elige una fecha completa."),
        ("hasta", too_early, "El primer día está después del último."),
        ("hasta", tomorrow, "Elige hoy o un día anterior."),
        ("desde", "2001-01-01", "Elige un año como máximo."),
    ];
    for (id, day, message) in mistakes {
        choose(page, &[("desde", from), ("hasta", to)]).await;
        choose(page, &[(id, day)]).await;
        let is_shown = format!(
            "document.querySelector('#{id}-error').innerText === '{message}' && document.querySelector('#{id}').ariaInvalid === 'true'"
        );
        page.wait_until(message, &is_shown).await;
        let shown = page.eval(MESSAGES).await;
        let messages = shown.as_array().expect("two messages");
        assert_eq!(
            messages.iter().filter(|text| *text != "").count(),
            1,
            "{shown}"
        );
        assert_bars(page, 10).await;
        page.wait_until("the numbers of the old range are dimmed", IS_DIMMED)
            .await;
    }
    for (name, screen) in [
        ("demo-range-desktop", DESKTOP),
        (
            "demo-range-phone-dark",
            Screen {
                is_dark: true,
                ..PHONE
            },
        ),
    ] {
        page.set_screen(screen).await;
        page.eval("document.querySelector('#services details').open = true")
            .await;
        page.assert_fits().await;
        axe::assert_accessible(page, name).await;
        page.screenshot(name).await;
    }
    assert_eq!(page.take_sent().await, Vec::<Value>::new());
    choose(page, &[("desde", from)]).await;
    page.wait_until(
        "the mistake is gone",
        &format!("{MESSAGES}.join('') === ''"),
    )
    .await;
    page.wait_until(
        "the numbers are those of the range",
        &format!("!({IS_DIMMED})"),
    )
    .await;
}
