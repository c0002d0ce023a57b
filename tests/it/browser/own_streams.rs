//! The page of a server whose database has no `citas`: channels of its own streams, with a token.

use serde_json::json;

use super::{Browser, BrowserPage, DESKTOP, PHONE, Screen, axe};
use crate::harness::cluster::TestDatabase;
use crate::harness::{SYSTEM_ADMIN, TempFolder, TestApp, claims, disable_sweep};

const SCHEMA: &str = "CREATE TABLE pedidos (tienda_id bigint NOT NULL, caja text NOT NULL, dia date NOT NULL DEFAULT '2026-11-30',
        total numeric NOT NULL);
    INSERT INTO pedidos VALUES (7, '3', DEFAULT, 1000.50), (7, '3', '2025-01-01', 5), (8, 'a,b', DEFAULT, 1)";

const TOML: &str = r#"
    [streams.ventas]
    query = '''
        SELECT u.tienda_id, u.caja, u.desde, s.* FROM unnest($1::bigint[], $2::text[], $3::date[], $4::date[]) AS u (tienda_id, caja, hoy, desde)
        CROSS JOIN LATERAL (SELECT count(*) AS pedidos, sum(p.total) AS total, max(p.dia) AS ultimo_dia, NULL::text AS nota,
                                   '{"a": [1, 2]}'::jsonb AS datos
                            FROM pedidos p WHERE p.tienda_id = u.tienda_id AND p.caja = u.caja AND p.dia >= u.desde) s'''
    keys = ["tienda_id", "caja"]
    [streams.ventas.params]
    desde = { type = "date", default = "2000-01-01" }
    [[streams.ventas.tables]]
    table = "pedidos"
    key = ["tienda_id", "caja"]
"#;

const CHANNEL: &str = "ventas:7/3?desde=2026-01-01";

struct Shop {
    app: TestApp,
    database: TestDatabase,
    _folder: TempFolder,
}

impl Shop {
    /// Starts a server of these streams on a database with this schema.
    async fn start(schema: &str) -> Self {
        let folder = TempFolder::new();
        folder.write("latido.toml", TOML);
        let path = folder.path().join("latido.toml");
        let variables = [("LATIDO_CONFIG", path.to_str().expect("UTF-8"))];
        let database = TestDatabase::create(&[]).await;
        let client = database.client().await;
        client.batch_execute(schema).await.expect("a schema");
        let url = database.url();
        TestApp::try_install_on(url, &variables)
            .await
            .expect("installed");
        let app = TestApp::on_database_completed(url, &variables, disable_sweep).await;
        Self {
            app,
            database,
            _folder: folder,
        }
    }

    /// Opens the page, and waits until it asks for a token.
    async fn open(&self, page: &mut BrowserPage) -> String {
        let origin = format!("http://{}/", self.app.address());
        page.open(&origin).await;
        page.wait_until(
            "the page asks for a token, and knows the streams",
            "!document.querySelector('#entry').hidden && document.activeElement.id === 'token'
                && document.querySelector('#ids-help').innerText.includes('ventas')",
        )
        .await;
        origin
    }

    fn admin_token(&self) -> String {
        let claims =
            json!({"id": SYSTEM_ADMIN, "rol": "admin_sistema", "exp": claims::now() + 600});
        self.app.sign(&claims)
    }
}

/// Fills in the form and sends it with the Enter key.
async fn sign_in(page: &mut BrowserPage, token: &str, channels: &str) {
    page.eval(
        "document.querySelector('#token').value = '', document.querySelector('#token').focus()",
    )
    .await;
    page.type_text(token).await;
    page.press("Tab").await;
    page.eval("document.querySelector('#ids').value = ''").await;
    page.type_text(channels).await;
    page.press("Enter").await;
}

async fn wait_for_field(page: &mut BrowserPage, field: &str, text: &str) {
    let shown = format!(
        "document.querySelector('#cards article:first-child [data-field={field}]')?.textContent === '{text}'"
    );
    page.wait_until(text, &shown).await;
}

async fn assert_page_quality(page: &mut BrowserPage, state: &str) {
    let looks = [
        ("desktop", DESKTOP),
        (
            "phone-dark",
            Screen {
                is_dark: true,
                reduces_motion: true,
                ..PHONE
            },
        ),
    ];
    for (look, screen) in looks {
        let name = format!("own-streams-{state}-{look}");
        page.set_screen(screen).await;
        page.assert_fits().await;
        axe::assert_accessible(page, &name).await;
        page.screenshot(&name).await;
    }
    page.set_screen(DESKTOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_shows_the_rows_of_own_streams_live() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let shop = Shop::start(SCHEMA).await;
    let mut page = browser.open_page(DESKTOP).await;
    let origin = shop.open(&mut page).await;
    assert_eq!(page.text("#title").await, "Tus datos en vivo");
    assert_eq!(page.text("#ids-label").await, "Canal");
    let body = page.text("body").await;
    for absent in ["estadisticas", "Citas", "egocio"] {
        assert!(!body.contains(absent), "{absent}: {body}");
    }
    assert!(body.contains("latido watch CANAL"), "{body}");
    assert_page_quality(&mut page, "form").await;

    let channels = format!("{CHANNEL}, ventas:8/a,b");
    sign_in(&mut page, &shop.admin_token(), &channels).await;
    let names = "[...document.querySelectorAll('#cards h2')].map((title) => title.innerText)";
    let both = format!(
        "JSON.stringify({names}) === '{}'",
        json!([CHANNEL, "ventas:8/a,b"])
    );
    page.wait_until("a card of each channel", &both).await;
    for (field, text) in [
        ("tienda_id", "7"),
        ("pedidos", "1"),
        ("total", "1.000,5"),
        ("ultimo_dia", "30 nov 2026"),
        ("nota", "–sin valor"),
        ("datos", "{\"a\":[1,2]}"),
    ] {
        wait_for_field(&mut page, field, text).await;
    }
    let client = shop.database.client().await;
    let insert = "INSERT INTO pedidos VALUES (7, '3', '2026-12-01', 2000)";
    client.batch_execute(insert).await.expect("sold");
    wait_for_field(&mut page, "total", "3.000,5").await;
    let animated = "['pedidos', 'total'].every((name) => document.querySelector(`[data-field=${name}]`).getAnimations().length > 0)";
    assert_eq!(page.eval(animated).await, true, "what changed is marked");
    let quiet = "document.querySelector('[data-field=datos]').getAnimations().length";
    assert_eq!(page.eval(quiet).await, 0, "and nothing else");
    assert_page_quality(&mut page, "live").await;

    page.click("#language").await;
    page.wait_until(
        "the page is in English",
        "document.querySelector('#title').innerText === 'Your data, live'",
    )
    .await;
    wait_for_field(&mut page, "total", "3,000.5").await;
    page.click("#again").await;
    page.wait_until(
        "the form is there again, with the channel in the command",
        &format!("document.querySelector('.commands.host').innerText.includes(\"latido watch '{CHANNEL}'\")"),
    )
    .await;
    page.assert_no_errors(&origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_says_why_a_channel_shows_nothing() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let shop = Shop::start(SCHEMA).await;
    let mut page = browser.open_page(DESKTOP).await;
    let origin = shop.open(&mut page).await;
    let stranger = shop
        .app
        .sign(&json!({"id": "ana", "exp": claims::now() + 600}));
    let admin = shop.admin_token();
    for (token, channel, reason) in [
        (
            &admin,
            "pedidos:7",
            "Este canal no existe. El servidor tiene: ventas:<tienda_id>/<caja>",
        ),
        (&admin, "ventas:7/3?desde=ayer", "Este canal no es válido: "),
        (&stranger, CHANNEL, "Este token no puede leer este canal."),
    ] {
        sign_in(&mut page, token, channel).await;
        let shown = format!(
            "document.querySelector('#cards article:first-child h2')?.innerText === '{channel}'
                && document.querySelector('#cards .error').innerText.startsWith('{reason}')
                && document.querySelector('#connection').dataset.state === 'live'"
        );
        page.wait_until(reason, &shown).await;
        assert_page_quality(&mut page, "refused").await;
        page.click("#again").await;
    }
    page.assert_no_errors(&origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_with_the_builtin_stream_takes_own_channels_too() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let business = "11111111-1111-1111-1111-111111111111";
    let citas = format!(
        "{SCHEMA}; CREATE TABLE citas (negocio_id uuid, fecha date, estado text);
         INSERT INTO citas VALUES ('{business}', '2026-01-01', 'atendida')"
    );
    let shop = Shop::start(&citas).await;
    let mut page = browser.open_page(DESKTOP).await;
    let origin = shop.open(&mut page).await;
    assert_eq!(page.text("#ids-label").await, "Identificador del negocio");
    sign_in(
        &mut page,
        &shop.admin_token(),
        &format!("{business} {CHANNEL}"),
    )
    .await;
    wait_for_field(&mut page, "pedidos", "1").await;
    page.wait_until(
        "the numbers of the business",
        "document.querySelector('[data-field=total_citas]')?.innerText === '1'",
    )
    .await;
    page.assert_fits().await;
    page.screenshot("own-streams-and-citas").await;
    page.assert_no_errors(&origin).await;
}
