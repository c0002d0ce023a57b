//! The settings of apps, read together with those of the server.

use crate::config::{ConfigSources, Purpose, Settings};

fn settings(variables: &[(&str, &str)]) -> Result<Settings, String> {
    let fixed = [
        ("DATABASE_URL", "postgresql://u@h/d"),
        ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
    ];
    let all: Vec<_> = fixed.iter().chain(variables).copied().collect();
    Settings::read(&ConfigSources::from_variables(&all), Purpose::Serve)
        .map_err(|errors| errors.to_string())
}

#[test]
fn app_is_off_unless_it_is_named() {
    assert!(settings(&[]).unwrap().apps.is_empty());
    let missing = settings(&[("LATIDO_APPS", "workspace")]).unwrap_err();
    assert!(
        missing.contains("WORKSPACE_API_KEY: expected a key"),
        "{missing}"
    );
    let apps = settings(&[
        ("LATIDO_APPS", " workspace "),
        ("WORKSPACE_API_KEY", "0123456789abcdef"),
    ])
    .unwrap()
    .apps;
    assert_eq!(
        (apps.len(), apps[0].port, apps[0].app.name()),
        (1, None, "workspace")
    );
}

#[test]
fn file_can_give_an_app_a_port() {
    let file = std::env::temp_dir().join(format!("latido-apps-{}.toml", std::process::id()));
    std::fs::write(&file, "[apps.workspace]\nport = 4000\n").unwrap();
    let path = file.to_str().unwrap();
    let apps = settings(&[
        ("LATIDO_CONFIG", path),
        ("WORKSPACE_API_KEY", "0123456789abcdef"),
    ])
    .unwrap()
    .apps;
    assert_eq!((apps.len(), apps[0].port), (1, Some(4000)));
    std::fs::write(&file, "[apps.workspaces]\n[apps.workspace]\nports = 4000\n").unwrap();
    let errors = settings(&[("LATIDO_CONFIG", path)]).unwrap_err();
    std::fs::remove_file(&file).unwrap();
    assert!(errors.contains("ports"), "{errors}");
}

#[test]
fn gateway_has_a_port_of_its_own() {
    let given = [
        ("LATIDO_APPS", "gateway"),
        ("GATEWAY_API_URL", "http://api:8000"),
        ("GATEWAY_API_KEY", "k"),
    ];
    assert_eq!(settings(&given).unwrap().apps[0].port, Some(4000));
}

#[test]
fn app_brings_its_stream() {
    let given = [("LATIDO_APPS", "modules"), ("MODULES_API_KEY", "k")];
    let streams = settings(&given).unwrap().streams;
    assert!(streams.iter().any(|stream| stream.name == "modules_stats"));
}

#[test]
fn unknown_app_is_reported_with_the_known_ones() {
    let errors = settings(&[("LATIDO_APPS", "workspaces")]).unwrap_err();
    let expected = r#"LATIDO_APPS: there is no app "workspaces"; expected some of workspace, gateway, messaging, modules"#;
    assert!(errors.contains(expected), "{errors}");
}
