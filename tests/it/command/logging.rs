//! The log lines of the commands: plain values in the fields, and no warning about an orderly stop.

use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::CommandSetup;
use super::demo::demo_variables;
use crate::harness::{B1, CommandHome, ReservedPort, RunningCommand, TestSocket};

/// The parts of a value that only Rust's debug form has.
const DEBUG_FORMS: [&str; 5] = ["Some(", "None", "[\"", "Ok(", "Err("];

/// Returns the log lines with a field that contains a debug form.
fn debug_fields(log: &str) -> Vec<&str> {
    let has_debug_field = |line: &&str| {
        let fields: Value = serde_json::from_str(line).expect("JSON");
        fields
            .as_object()
            .expect("an object")
            .values()
            .filter_map(Value::as_str)
            .any(|value| DEBUG_FORMS.iter().any(|form| value.contains(form)))
    };
    log.lines().filter(has_debug_field).collect()
}

/// Returns the warnings and errors of a log.
fn warnings(log: &str) -> Vec<&str> {
    let is_warning = |line: &&str| {
        [r#""level":"WARN""#, r#""level":"ERROR""#]
            .iter()
            .any(|level| line.contains(level))
    };
    log.lines().filter(is_warning).collect()
}

/// Stops a command in order and asserts that it logs no warning about it.
async fn assert_quiet_stop(command: RunningCommand, signal: Signal) {
    let before = command.stderr_text().len();
    command.signal(signal);
    let output = command.wait_for_exit().await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(
        warnings(&output.stderr[before..]),
        Vec::<&str>::new(),
        "{signal:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn log_fields_have_no_debug_form() {
    let setup = CommandSetup::new().await;
    let gateway = ReservedPort::new();
    let gateway_port = gateway.number().to_string();
    // Without `install`, so that the state of the triggers is logged as well.
    let server = setup.start(
        &["serve"],
        &[
            ("RUST_LOG", "latido=debug"),
            ("LATIDO_APPS", "gateway,messaging"),
            ("GATEWAY_API_URL", "http://127.0.0.1:1"),
            ("GATEWAY_API_KEY", "a key that publishers send"),
            ("GATEWAY_PORT", &gateway_port),
        ],
    );
    let address = server.ready_address().await;
    let url = format!("ws://{address}/ws");
    let forged = TestSocket::try_connect(&format!("{url}?token=forged"), &[]).await;
    assert_eq!(forged.err(), Some(401));
    let mut socket = TestSocket::connect(&url, &setup.token(B1).await).await;
    socket.subscribe(&format!("estadisticas:{B1}")).await;
    server.signal(Signal::TERM);
    let log = server.wait_for_exit().await.stderr;

    assert!(
        log.contains(&format!(r#""address":"127.0.0.1:{gateway_port}""#))
            && log.contains(r#""apps":"gateway""#)
            && log.contains(r#""app":"messaging""#),
        "{log}"
    );
    assert_eq!(debug_fields(&log), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_server_logs_no_warning() {
    let setup = CommandSetup::new().await;
    setup.print(&["install"]).await;
    let token = setup.token(B1).await;
    // Every round stops the tasks of the server in another order.
    for round in 0..6 {
        let server = setup.start(&["serve"], &[]);
        let url = format!("ws://{}/ws", server.ready_address().await);
        let mut socket = TestSocket::connect(&url, &token).await;
        socket.subscribe(&format!("estadisticas:{B1}")).await;
        let signal = [Signal::TERM, Signal::INT][round % 2];
        assert_quiet_stop(server, signal).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_demo_logs_no_warning() {
    let home = CommandHome::new();
    let state = home.folder().path().join("state");
    for signal in [Signal::INT, Signal::TERM, Signal::INT] {
        let variables = demo_variables(state.to_str().expect("UTF-8"));
        let demo = home.start(&["demo"], &variables);
        demo.ready_address().await;
        assert_quiet_stop(demo, signal).await;
    }
}

/// A stream that fails for one key, and so does its history.
const FAILING: &str = r#"
    builtin_streams = false
    [streams.entre]
    query = "SELECT u.k, 10 / u.k AS n FROM unnest($1::bigint[]) AS u (k)"
    history = "SELECT u.k, 10 / u.k AS n FROM unnest($1::bigint[]) AS u (k)"
    keys = ["k"]
    tables = []
"#;

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_ask_for_a_failing_key_do_not_fill_the_log() {
    let setup = CommandSetup::new().await;
    setup.home.folder().write("latido.toml", FAILING);
    let server = setup.start(&["serve"], &[("LATIDO_CONFIG", "latido.toml")]);
    let address = server.ready_address().await;
    let url = format!("ws://{address}/ws");
    let admin = ["token", "--user", "1", "--rol", "admin_sistema"];
    let token = setup.print(&admin).await;
    let mut socket = TestSocket::connect(&url, token.trim()).await;
    let ask = |kind: &str| json!({"type": kind, "data": {"channel": "entre:0", "history": true}});
    let start = Instant::now();
    for _ in 0..15 {
        socket.send(&ask("subscribe")).await;
        socket.next_of_type("history").await;
        socket.next_of_type("error").await;
        socket.send(&ask("unsubscribe")).await;
        socket.next_of_type("unsubscribed").await;
    }
    let seconds = start.elapsed().as_secs() + 1;
    let log = server.stderr_text();
    let failures = log.matches("\"message\":\"could not read t").count() as u64;
    assert!(
        (1..=seconds).contains(&failures),
        "{failures} in {seconds} s: {log}"
    );
}
