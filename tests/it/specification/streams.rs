//! The documents describe the streams that a server has and the way it serves them.

use reqwest::Method;
use serde_json::json;

use super::ApiDocument;
use crate::harness::{OTHER_USER, TestApp, claims};

const TOML: &str = r#"
[streams.ventas]
query = """
SELECT k.tienda_id, count(v.id) AS ventas, coalesce(sum(v.importe), 0)::numeric AS importe, max(v.en) AS ultima, coalesce(bool_or(v.grande), false) AS grande
FROM unnest($1::bigint[]) AS k (tienda_id) LEFT JOIN ventas v USING (tienda_id) GROUP BY k.tienda_id
"""
key_field = "tienda_id"
event = "venta"
tables = [{ table = "ventas", key = "tienda_id" }]
"#;
const SCHEMA: &str = "CREATE TABLE ventas (id serial PRIMARY KEY, tienda_id bigint NOT NULL, importe numeric, en timestamptz DEFAULT now(), grande boolean)";

/// Asserts that the hook accepts exactly the bodies that the document describes.
async fn assert_hook_matches_the_document(app: &TestApp, http: &ApiDocument) {
    for (body, fits) in [
        (json!({"tienda_id": 7}), true),
        (json!({"tienda_id": "7"}), true),
        (json!({"key": "tienda_7"}), true),
        (json!({}), false),
    ] {
        let answer = app
            .request(Method::POST, "/notify/ventas")
            .json(&body)
            .send()
            .await
            .expect("a response");
        let problem = http.mismatch(&http.0["components"]["schemas"]["Change.ventas"], &body);
        assert_eq!(
            (answer.status() == 200, problem.is_none()),
            (fits, fits),
            "{body}: {problem:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_stream_is_in_both_documents() {
    let app = TestApp::with_streams(TOML, SCHEMA).await;
    let http = ApiDocument::fetch(&app, "/openapi.json").await;
    let messages = ApiDocument::fetch(&app, "/asyncapi.json").await;
    http.check_consistency();
    messages.check_consistency();
    let paths: Vec<_> = http.0["paths"]
        .as_object()
        .expect("paths")
        .keys()
        .map(String::as_str)
        .collect();
    for path in [
        "/ventas/{tienda_id}",
        "/ventas/{tienda_id}/events",
        "/notify/ventas",
        "/notify/cita",
        "/estadisticas/{negocio_id}",
    ] {
        assert!(paths.contains(&path), "{path}: {paths:?}");
    }
    let data = &http.0["components"]["schemas"]["Data.ventas"];
    let types: Vec<_> = data["properties"]
        .as_object()
        .expect("columns")
        .iter()
        .map(|(name, schema)| (name.as_str(), schema["type"][0].as_str()))
        .collect();
    let expected = [
        ("tienda_id", None),
        ("ventas", Some("integer")),
        ("importe", Some("number")),
        ("ultima", Some("string")),
        ("grande", Some("boolean")),
        ("timestamp", None),
    ];
    assert_eq!(types, expected);

    app.connect_database()
        .await
        .batch_execute("INSERT INTO ventas (tienda_id, importe, grande) VALUES (7, 12.50, true)")
        .await
        .expect("sold");
    let token =
        app.sign(&json!({"id": OTHER_USER, "rol": "admin_sistema", "exp": claims::now() + 60}));
    let frame = app
        .connect_socket(&token)
        .await
        .subscribe_as("ventas:7", "venta")
        .await;
    messages.check(
        "a sale",
        &messages.0["components"]["messages"]["snapshot.ventas"]["payload"],
        &frame,
    );
    http.check("its data", data, &frame["data"]);
    assert_hook_matches_the_document(&app, &http).await;
}

const PARTS: &str = r#"
[streams.cajas]
query = """
SELECT u.tienda, u.caja, u.desde, (SELECT count(*) FROM ventas v WHERE v.tienda_id = u.tienda AND v.en >= u.desde) AS ventas
FROM unnest($1::bigint[], $2::text[], $3::date[], $4::date[]) AS u (tienda, caja, hoy, desde)
"""
keys = ["tienda_id", "caja"]
[streams.cajas.params]
desde = { type = "date" }
canal = { type = "enum", values = ["web", "local"], default = "web" }
[[streams.cajas.tables]]
table = "ventas"

[streams.totales]
query = "SELECT (SELECT count(*) FROM ventas) AS ventas FROM unnest($1::date[]) AS u (hoy)"
keys = []
[[streams.totales.tables]]
table = "ventas"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn key_parts_and_parameters_are_in_both_documents() {
    let toml = PARTS.replace("u.caja, u.desde,", "u.caja, u.desde, u.canal,");
    let toml = toml.replace(
        "$4::date[]) AS u (tienda, caja, hoy, desde)",
        "$4::date[], $5::text[]) AS u (tienda, caja, hoy, desde, canal)",
    );
    let app = TestApp::with_streams(&toml, SCHEMA).await;
    let http = ApiDocument::fetch(&app, "/openapi.json").await;
    let messages = ApiDocument::fetch(&app, "/asyncapi.json").await;
    http.check_consistency();
    messages.check_consistency();
    let paths = &http.0["paths"];
    for path in [
        "/cajas/{tienda_id}/{caja}",
        "/cajas/{tienda_id}/{caja}/events",
    ] {
        let parameters = paths[path]["parameters"].as_array().expect(path).iter();
        let described: Vec<_> = parameters
            .map(|it| (it["name"].clone(), it["in"].clone(), it["required"].clone()))
            .collect();
        let expected = [
            (json!("tienda_id"), json!("path"), json!(true)),
            (json!("caja"), json!("path"), json!(true)),
            (json!("desde"), json!("query"), json!(true)),
            (json!("canal"), json!("query"), json!(false)),
        ];
        assert_eq!(described, expected, "{path}");
    }
    for path in ["/totales", "/totales/events"] {
        assert!(
            paths[path]["get"].is_object() && paths[path]["parameters"].is_null(),
            "{path}"
        );
    }
    for path in ["/events", "/notify/cajas", "/notify/totales"] {
        assert!(paths[path].is_object(), "{path}");
    }
    let schema = &messages.0["components"]["schemas"]["Channel"];
    for (name, fits) in [
        ("cajas:7/a?desde=2026-11-01", true),
        ("totales", true),
        ("estadisticas:7", true),
        ("totales:7", false),
        ("cajas", false),
    ] {
        assert_eq!(
            messages.mismatch(schema, &json!(name)).is_none(),
            fits,
            "{name}"
        );
    }
    assert_channels_match_the_documents(&app, &http, &messages).await;
    assert_hooks_match_the_document(&app, &http).await;
}

async fn assert_channels_match_the_documents(
    app: &TestApp,
    http: &ApiDocument,
    messages: &ApiDocument,
) {
    let token =
        app.sign(&json!({"id": OTHER_USER, "rol": "admin_sistema", "exp": claims::now() + 60}));
    let mut socket = app.connect_socket(&token).await;
    for (stream, channel, path) in [
        (
            "cajas",
            "cajas:7/a?desde=2026-11-01",
            "/cajas/7/a?desde=2026-11-01",
        ),
        ("totales", "totales", "/totales"),
    ] {
        let frame = socket.subscribe_as(channel, stream).await;
        let message = &messages.0["components"]["messages"][format!("snapshot.{stream}")];
        messages.check(channel, &message["payload"], &frame);
        let answer = app.request(Method::GET, path).bearer_auth(&token).send();
        let data = answer
            .await
            .expect("a response")
            .json()
            .await
            .expect("JSON");
        let schema = &http.0["components"]["schemas"][format!("Data.{stream}")];
        http.check(path, schema, &data);
    }
}

async fn assert_hooks_match_the_document(app: &TestApp, http: &ApiDocument) {
    for (stream, body, fits) in [
        ("cajas", json!({"tienda_id": 7, "caja": "a"}), true),
        ("cajas", json!({"key": "7/a"}), true),
        ("cajas", json!({"tienda_id": 7, "key": "7/a"}), false),
        ("cajas", json!({}), false),
        ("totales", json!({}), true),
        ("totales", json!({"key": "7"}), false),
    ] {
        let request = app.request(Method::POST, &format!("/notify/{stream}"));
        let answer = request.json(&body).send().await.expect("a response");
        let schema = &http.0["components"]["schemas"][format!("Change.{stream}")];
        let accepted = (
            answer.status() == 200,
            http.mismatch(schema, &body).is_none(),
        );
        assert_eq!(accepted, (fits, fits), "{stream} {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_cached_by_etag_and_readable_from_any_origin() {
    let app = TestApp::start().await;
    for path in ["/openapi.json", "/asyncapi.json"] {
        let ask = async |tag: &str| {
            app.request(Method::GET, path)
                .header("if-none-match", tag)
                .send()
                .await
                .expect("a response")
        };
        let answer = ask("\"none\"").await;
        let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
        assert_eq!(
            (
                header("content-type").as_str(),
                header("cache-control").as_str()
            ),
            ("application/json", "no-cache")
        );
        assert_eq!(header("access-control-allow-origin"), "*");
        let tag = header("etag");
        let text = answer.text().await.expect("text");
        assert!(!text.contains(&app.database_url()) && !text.contains(claims::SECRET));
        let again = ask(&tag).await;
        assert_eq!(
            (
                again.status().as_u16(),
                again.headers()["etag"].to_str().expect("text")
            ),
            (304, tag.as_str())
        );
        assert!(again.text().await.expect("text").is_empty());
        let head = app
            .request(Method::HEAD, path)
            .send()
            .await
            .expect("a response");
        assert_eq!(head.headers()["etag"].to_str().expect("text"), tag);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_in_both_documents_where_a_stream_has_one() {
    let history = "SELECT k.tienda_id, v.en::date AS dia, v.importe FROM unnest($1::bigint[]) AS k (tienda_id) \
                   JOIN ventas v USING (tienda_id)";
    let toml = format!(
        "{TOML}\n{}",
        TOML.replace(
            "streams.ventas]",
            &format!("streams.cajas]\nhistory = \"{history}\"")
        )
    );
    let app = TestApp::with_streams(&toml, SCHEMA).await;
    let db = app.connect_database().await;
    let sql = "INSERT INTO ventas (tienda_id, importe) VALUES (7, 1.5), (7, NULL)";
    db.batch_execute(sql).await.expect("rows");
    let http = ApiDocument::fetch(&app, "/openapi.json").await;
    let messages = ApiDocument::fetch(&app, "/asyncapi.json").await;
    http.check_consistency();
    messages.check_consistency();
    for path in ["/{tienda_id}", "/{tienda_id}/events"] {
        let asks = |stream: &str| {
            let get = &http.0["paths"][format!("/{stream}{path}")]["get"];
            let parameters = get["parameters"].as_array().into_iter().flatten();
            let mut names = parameters.map(|parameter| parameter["name"].clone());
            names.any(|name| name == "history")
        };
        assert_eq!((asks("cajas"), asks("ventas")), (true, false), "{path}");
    }
    assert!(
        http.0["components"]["schemas"]
            .get("History.ventas")
            .is_none()
    );
    let token = json!({"id": OTHER_USER, "rol": "admin_sistema", "exp": claims::now() + 600});
    let token = app.sign(&token);
    let request = app.request(Method::GET, "/cajas/7?history=true");
    let answer = request
        .bearer_auth(&token)
        .send()
        .await
        .expect("a response");
    let rows: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(rows.as_array().map(Vec::len), Some(2));
    let response = &http.0["paths"]["/cajas/{tienda_id}"]["get"]["responses"]["200"];
    http.check(
        "rows",
        &response["content"]["application/json"]["schema"],
        &rows,
    );
    http.check(
        "rows",
        &http.0["components"]["schemas"]["History.cajas"],
        &rows,
    );
    let mut socket = app.connect_socket(&token).await;
    let data = json!({"channel": "cajas:7", "history": true});
    socket
        .send(&json!({"type": "subscribe", "data": data}))
        .await;
    let frame = socket.next_of_type("history").await;
    let message = &messages.0["components"]["messages"]["history"];
    messages.check("history", &message["payload"], &frame);
    let wrong = json!({"type": "history", "channel": "cajas:7", "data": [{"dia": 7}]});
    assert!(messages.mismatch(&message["payload"], &wrong).is_some());
}
