//! Errors in the settings: all are reported together, each with the expected value and no secret.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use latido::config::{ConfigSources, Purpose, Settings};

use super::{SECRET, variables};
use crate::harness::{CommandHome, ReservedPort};

const NOWHERE: &str = "postgresql://u:open-sesame@127.0.0.1:1/d";

#[tokio::test]
async fn missing_settings_are_listed() {
    let home = CommandHome::new();
    for arguments in [&["--port", "1"][..], &["serve"]] {
        let finished = home.run(arguments, &[]).await;
        assert_eq!(
            (finished.code, finished.stdout.as_str()),
            (Some(2), ""),
            "{finished:?}"
        );
        let expected = [
            "2 mistakes",
            "DATABASE_URL: missing; expected postgresql://",
            "JWT_SECRET: missing; expected at least 32",
        ];
        assert!(
            expected.iter().all(|text| finished.stderr.contains(text)),
            "{}",
            finished.stderr
        );
    }
}

#[tokio::test]
async fn file_that_gives_no_secret_is_named_once() {
    let home = CommandHome::new();
    let variables = [
        ("DATABASE_URL", NOWHERE),
        ("DATABASE_URL_FILE", "/run/secrets/url"),
        ("JWT_SECRET_FILE", "/absent/hunter2"),
        ("NOTIFY_API_KEY_FILE", "/"),
    ];
    let finished = home.run(&["serve"], &variables).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let expected = [
        "3 mistakes in the configuration:",
        "DATABASE_URL_FILE: set beside DATABASE_URL; expected one of the two",
        "JWT_SECRET_FILE: the file could not be read: No such file",
        "NOTIFY_API_KEY_FILE: the file is a directory",
    ];
    for text in expected {
        assert!(
            finished.stderr.contains(text),
            "{text}: {}",
            finished.stderr
        );
    }
    assert!(!finished.stderr.contains("hunter2") && !finished.stderr.contains("open-sesame"));
}

/// Opening a pipe waits until somebody writes to it. The command would not even log.
#[tokio::test]
async fn secret_in_a_pipe_is_refused_without_waiting() {
    let home = CommandHome::new();
    let pipe = home.folder().write("secret", "").with_file_name("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let variables = [
        ("DATABASE_URL", NOWHERE),
        ("JWT_SECRET_FILE", pipe.to_str().unwrap()),
    ];
    let finished = home.run(&["serve"], &variables).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let expected =
        "JWT_SECRET_FILE: the file is a directory, a pipe or a device; expected a regular file";
    assert!(finished.stderr.contains(expected), "{}", finished.stderr);
}

/// Opening a pipe waits until somebody writes to it, and a device may have no end.
#[tokio::test]
async fn files_that_are_no_files_are_refused_without_waiting() {
    let home = CommandHome::new();
    let folder = home.folder().path();
    let pipe = folder.join("pipe.sql");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let key = folder.join("key");
    std::fs::create_dir(&key).unwrap();
    let toml = "[streams.a]\nquery = \"pipe.sql\"\nkeys = []\n[streams.b]\nquery = \"SELECT 1 AS n\"\nhistory = \"key.sql\"";
    let config = home.folder().write("latido.toml", toml);
    std::fs::create_dir(folder.join("key.sql")).unwrap();
    let [pipe, key, config] = [&pipe, &key, &config].map(|path| path.to_str().unwrap());
    let refused = "it is a directory, a pipe or a device; expected a regular file";
    let serve = async |variables: &[(&str, &str)], name: &str| {
        let fixed = [("DATABASE_URL", NOWHERE), ("JWT_SECRET", SECRET)];
        let variables: Vec<_> = fixed.iter().chain(variables).copied().collect();
        let ended = home.run(&["serve"], &variables).await;
        assert!(matches!(ended.code, Some(1 | 2)), "{name}: {ended:?}");
        let mut lines = ended.stderr.lines();
        let is_it = |line: &str| line.contains(name) && line.contains(refused);
        assert!(lines.any(is_it), "{name}: {}", ended.stderr);
    };
    for path in [pipe, "/dev/zero", key] {
        serve(&[("LATIDO_CONFIG", path)], "LATIDO_CONFIG: ").await;
        serve(&[("JWT_PUBLIC_KEY", path)], "JWT_PUBLIC_KEY: ").await;
        serve(&[("TLS_CERT", path), ("TLS_KEY", path)], path).await;
        let url = format!("{NOWHERE}?sslmode=verify-full&sslrootcert={path}");
        serve(&[("DATABASE_URL", &url)], "sslrootcert").await;
    }
    serve(&[("LATIDO_CONFIG", config)], "[streams.a] query").await;
    serve(&[("LATIDO_CONFIG", config)], "[streams.b] history").await;
    for arguments in [["try", pipe], ["add", pipe]] {
        let ended = home.run(&arguments, &[("DATABASE_URL", NOWHERE)]).await;
        assert!(
            ended.code == Some(1) && ended.stderr.contains(refused),
            "{ended:?}"
        );
    }
    std::os::unix::fs::symlink(pipe, folder.join(".env")).unwrap();
    serve(&[], ".env: ").await;
}

#[tokio::test]
async fn all_mistakes_are_in_one_message_without_secrets() {
    let wrong = [
        ("DATABASE_URL", "mysql://u:hunter2@h/d"),
        ("LISTEN_DATABASE_URL", "hunter2"),
        ("JWT_SECRET", "hunter2"),
        ("NOTIFY_API_KEY", "hunter2"),
        ("JWT_JWKS_URL", "http://u:hunter2@example.com/keys"),
        ("HOST", "everywhere"),
        ("PORT", "eighty"),
        ("TIMEZONE", "Mars/Olympus"),
        ("LATIDO_CONFIG", "nowhere.toml"),
        ("METRICS", "perhaps"),
    ];
    let finished = CommandHome::new().run(&["serve"], &wrong).await;
    assert_eq!(
        (finished.code, finished.stdout.as_str()),
        (Some(2), ""),
        "{finished:?}"
    );
    for (name, _) in wrong.iter().filter(|(name, _)| *name != "NOTIFY_API_KEY") {
        let mistake = finished
            .stderr
            .lines()
            .find(|line| line.trim_start().starts_with(&format!("{name}: ")));
        assert!(
            mistake.is_some_and(|line| line.contains("expected")),
            "{name} in {}",
            finished.stderr
        );
    }
    assert!(!finished.stderr.contains("hunter2"), "{}", finished.stderr);
}

#[tokio::test]
async fn weak_secret_is_refused_unless_allowed() {
    let home = CommandHome::new();
    let weak = [
        ("DATABASE_URL", NOWHERE),
        ("JWT_SECRET", "opensesame"),
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
    ];
    let finished = home.run(&["serve"], &weak).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(
        finished.stderr.contains("JWT_ALLOW_WEAK_SECRET=true")
            && !finished.stderr.contains("opensesame"),
        "{}",
        finished.stderr
    );

    let allowed: Vec<_> = weak
        .into_iter()
        .chain([("JWT_ALLOW_WEAK_SECRET", "true")])
        .collect();
    let server = home.start(&["serve"], &allowed);
    server.listen_address().await;
    let warning = server
        .wait_for_stderr("a warning", |line| line.contains("JWT_SECRET: 10 bytes"))
        .await;
    assert!(warning.contains(r#""level":"WARN""#), "{warning}");
    assert!(
        !server.stderr_text().contains("sesame"),
        "{}",
        server.stderr_text()
    );
}

/// Each of these is a warning, or an error, of its own variable.
#[test]
fn guessable_secrets_and_empty_restrictions_are_named() {
    let fixed = [
        ("DATABASE_URL", NOWHERE),
        ("JWT_SECRET", SECRET),
        ("MODULES_JWT_SECRET", SECRET),
        ("MESSAGING_JWT_SECRET", SECRET),
        ("LATIDO_APPS", "workspace,gateway,messaging,modules"),
        ("GATEWAY_API_URL", "http://127.0.0.1:9"),
        ("WORKSPACE_API_KEY", "a long key for this test"),
        ("MODULES_API_KEY", "a long key for this test"),
        ("GATEWAY_API_KEY", "a long key for this test"),
    ];
    let named = |changes: &[(&str, &str)], name: &str| {
        let fixed = fixed
            .iter()
            .filter(|(fixed, _)| changes.iter().all(|(changed, _)| changed != fixed));
        let all: Vec<_> = fixed.chain(changes).copied().collect();
        let read = Settings::read(&ConfigSources::from_variables(&all), Purpose::Serve);
        let texts = match read {
            Ok(settings) => settings.warnings,
            Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
        };
        texts.iter().any(|text| text.trim().starts_with(name))
    };
    for (name, value) in [
        ("NOTIFY_API_KEY", "fifteen letters"),
        ("WORKSPACE_API_KEY", "fifteen letters"),
        ("GATEWAY_API_KEY", "fifteen letters"),
        ("MODULES_API_KEY", "fifteen letters"),
        ("MODULES_SESSION_SECRET", "fifteen letters"),
        ("MODULES_SESSION_SECRET_PREVIOUS", "fifteen letters"),
        ("TRUSTED_PROXIES", "0.0.0.0/0"),
        ("TRUSTED_PROXIES", "127.0.0.1, ::/0"),
        ("GATEWAY_TRUSTED_CIDRS", "0.0.0.0/0"),
        ("GATEWAY_TRUSTED_CIDRS", "::/0"),
        ("JWT_ISSUER", ""),
        ("MODULES_JWT_ISSUER", ""),
        ("MESSAGING_JWT_ISSUER", ""),
    ] {
        assert!(!named(&[], name), "{name}");
        assert!(named(&[(name, value)], name), "{name}={value}");
    }
}

#[tokio::test]
async fn env_file_is_read_with_the_lowest_priority() {
    let home = CommandHome::new();
    let reserved_port = ReservedPort::new();
    let port = reserved_port.address().port();
    let lines: String = variables(NOWHERE)
        .iter()
        .filter(|(name, _)| *name != "PORT")
        .map(|(name, value)| format!("{name}='{value}'\n"))
        .collect();
    home.folder()
        .write(".env", &format!("# ours\nPORT={port}\n{lines}"));
    assert_eq!(
        home.run_for_stdout(&["token", "--user", "ana"], &[])
            .await
            .trim()
            .split('.')
            .count(),
        3
    );
    // The environment wins over the file, and a flag wins over both.
    for (arguments, host) in [(&[][..], 2), (&["--host", "127.0.0.3"], 3)] {
        let server = home.start(arguments, &[("HOST", "127.0.0.2")]);
        let address = |host| SocketAddr::from(([127, 0, 0, host], port));
        server.wait_until_accepting(address(host)).await;
        for other in [1, 2, 3].into_iter().filter(|other| *other != host) {
            assert!(TcpStream::connect(address(other)).is_err(), "{other}");
        }
    }

    home.folder()
        .write(".env", "JWT_SECRET=two words hunter2\n");
    let finished = home.run(&["token", "--user", "ana"], &[]).await;
    assert!(
        finished.code == Some(2)
            && finished.stderr.contains(".env: ")
            && !finished.stderr.contains("hunter2"),
        "{finished:?}"
    );
}

#[tokio::test]
async fn help_documents_every_variable() {
    let help = CommandHome::new()
        .run_for_stdout(&["--help"], &[("JWT_SECRET", SECRET)])
        .await;
    for variable in latido::config::all_variables() {
        assert!(help.contains(variable.name), "{}", variable.name);
    }
    assert!(!help.contains(SECRET), "{help}");
    let unknown = CommandHome::new().run(&["sirve"], &[]).await;
    assert!(
        unknown.code == Some(2) && unknown.stderr.contains("--help"),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn configuration_page_is_the_printed_table() {
    let printed = CommandHome::new()
        .run_for_stdout(&["settings", "--markdown"], &[])
        .await;
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    assert_eq!(
        printed,
        std::fs::read_to_string(page).unwrap(),
        "write the page with `latido settings --markdown > docs/configuration.md`"
    );
    let variables = latido::config::all_variables();
    for variable in &variables {
        // The row of a secret also names the variable of its file.
        let row = format!("| `{}`", variable.name);
        assert_eq!(page_rows(&printed, &row), 1, "{}", variable.name);
    }
    assert_eq!(page_rows(&printed, "| `"), variables.len());
}

fn page_rows(page: &str, start: &str) -> usize {
    page.lines().filter(|line| line.starts_with(start)).count()
}

#[tokio::test]
async fn settings_command_prints_one_line_for_each_variable_and_no_value() {
    let printed = CommandHome::new()
        .run_for_stdout(&["settings"], &[("JWT_SECRET", SECRET)])
        .await;
    let names: Vec<_> = printed
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let variables = latido::config::all_variables();
    assert!(names.iter().eq(variables.iter().map(|v| &v.name)));
    assert!(!printed.contains(SECRET), "{printed}");
}
