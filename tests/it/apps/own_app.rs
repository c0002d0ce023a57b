//! An app that is not in the list of apps, served through the same wiring: its settings, routes,
//! WebSocket and doctor line.

use latido::apps::AppList;
use latido::config::{ConfigSources, Purpose, Settings};
use serde_json::{Value, json};

use super::echo_app::Echo;
use crate::harness::{TestApp, TestSocket, settings_for};

static APPS: AppList = AppList::new(&[&Echo], &["echo", "absent"]);

fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
    let database = ("DATABASE_URL", "postgresql://u@h/d");
    let all: Vec<_> = [database].iter().chain(variables).copied().collect();
    let sources = ConfigSources::from_variables(&all);
    Settings::read_for(&APPS, &sources, Purpose::Doctor).map_err(|errors| errors.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn app_of_under_a_hundred_lines_is_served() {
    let variables = [("LATIDO_APPS", "echo"), ("ECHO_WORD", "hola")];
    let app = TestApp::with_apps(&APPS, &variables).await;
    let (status, body) = app.get("/echo?text=Ana").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, body),
        (200, json!({"word": "hola", "text": "Ana"}))
    );
    let url = format!("ws://{}/echo/socket", app.address());
    let mut socket = TestSocket::try_connect(&url, &[]).await.unwrap();
    socket.send(&json!(1)).await;
    assert_eq!(socket.next().await, json!({"word": "hola", "text": "1"}));
    let settings = settings_for(&APPS, &app.database_url(), &variables);
    let findings = latido::app::doctor(settings, false).await.unwrap();
    assert!(
        findings.iter().any(
            |finding| (&*finding.subject, &*finding.detail) == ("echo", "it needs no database")
        ),
        "{findings:?}"
    );
    let lines = include_str!("echo_app.rs").lines().count();
    assert!(lines < 100, "the app has {lines} lines");
}

#[tokio::test(flavor = "multi_thread")]
async fn own_app_is_off_unless_it_is_named() {
    let app = TestApp::with_apps(&APPS, &[]).await;
    assert_eq!(app.get("/echo").await.0, 404);
}

#[test]
fn unknown_and_absent_apps_are_told_apart() {
    let error = read(&[("LATIDO_APPS", "ecco")]).unwrap_err();
    assert!(
        error.contains(r#"LATIDO_APPS: there is no app "ecco"; expected some of echo"#),
        "{error}"
    );
    let error = read(&[("LATIDO_APPS", "echo,absent")]).unwrap_err();
    assert!(
        error.contains(r#"LATIDO_APPS: this build has no app "absent""#),
        "{error}"
    );
    read(&[("LATIDO_APPS", "echo")]).unwrap();
}
