//! The features of the package: which crates a build of the streams alone does without.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The crates that only apps, Socket.IO and the demo need.
const OPTIONAL: &[&str] = &[
    "bcrypt",
    "latido-app-gateway",
    "latido-app-messaging",
    "latido-app-modules",
    "latido-app-workspace",
    "latido-demo",
    "latido-embedded-postgres",
    "latido-socketio",
    "latido-socketio-protocol",
];

/// Returns the names of the crates in a build with these arguments of cargo.
fn crates(arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "latido", "--edges", "normal"])
        .args(["--prefix", "none", "--format", "{p}", "--offline"])
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().filter_map(|line| line.split(' ').next());
    names.map(ToOwned::to_owned).collect()
}

#[test]
fn build_without_features_has_only_the_streams() {
    let (streams, all) = (crates(&["--no-default-features"]), crates(&[]));
    let optional: BTreeSet<String> = OPTIONAL.iter().map(ToString::to_string).collect();
    let found: Vec<_> = streams.intersection(&optional).collect();
    assert!(found.is_empty(), "the streams do not need {found:?}");
    let missing: Vec<_> = optional.difference(&all).collect();
    assert!(missing.is_empty(), "the default build has not {missing:?}");
    assert!(streams.contains("latido-engine") && streams.contains("latido-http"));
}

#[test]
fn each_app_can_be_built_alone() {
    for app in ["workspace", "gateway", "messaging", "modules"] {
        let feature = format!("app-{app}");
        let crates = crates(&["--no-default-features", "--features", &feature]);
        let apps: Vec<_> = crates
            .iter()
            .filter(|name| name.starts_with("latido-app-") && *name != "latido-app-kit")
            .collect();
        assert_eq!(apps, [&format!("latido-app-{app}")]);
        let needs_socketio = matches!(app, "gateway" | "modules");
        assert_eq!(crates.contains("latido-socketio"), needs_socketio, "{app}");
        assert_eq!(crates.contains("bcrypt"), app == "modules", "{app}");
    }
}
