//! The layers: which crate may depend on which, who owns a foreign crate, and what pure code must
//! not do.

use std::collections::BTreeSet;

use super::files::{assert_none, production_files, read};

/// The crates of the workspace in the order of the layers, each with the ones that it may depend
/// on. No crate depends on a higher layer, and no running part is visible to a pure one.
const LAYERS: &[(&str, &str)] = &[
    ("base", ""),
    ("net", "base"),
    ("settings", "base"),
    ("telemetry", "settings"),
    ("embedded-postgres", ""),
    ("stream", "base"),
    ("auth", "base net settings stream"),
    ("protocol", "base stream"),
    ("socketio-protocol", ""),
    ("hub", "base stream protocol"),
    ("event-bus", "base protocol"),
    // It knows no database: the caller reads the catalogs for it.
    ("inference", ""),
    ("postgres", "base inference settings telemetry stream"),
    ("engine", "base settings telemetry stream protocol hub"),
    ("session", "base settings stream auth protocol"),
    (
        "admission",
        "base net settings telemetry stream auth protocol session",
    ),
    (
        "shard",
        "base settings telemetry stream auth protocol hub event-bus session admission",
    ),
    (
        "admin",
        "base telemetry stream auth protocol hub engine session admission shard",
    ),
    // The demo gives http its responses. It is not an app, and it knows no database.
    ("demo", "base"),
    (
        "http",
        "base net settings telemetry stream auth protocol hub engine session admission shard admin demo",
    ),
    // Apps use it as their interface. Of the topics it knows only those of events.
    (
        "socketio",
        "base net settings protocol socketio-protocol event-bus session admission shard http",
    ),
    (
        "app-kit",
        "base net settings telemetry stream auth protocol hub event-bus postgres engine session admission shard admin http socketio",
    ),
    (
        "app-gateway",
        "base net settings telemetry stream auth protocol hub event-bus session admission shard admin http socketio app-kit",
    ),
    (
        "app-messaging",
        "base net settings telemetry stream auth protocol hub event-bus postgres session admission shard http socketio app-kit",
    ),
    (
        "app-modules",
        "base net settings telemetry stream auth protocol hub event-bus postgres session admission shard http socketio app-kit",
    ),
    // The workspace app keeps nothing: it knows no database.
    (
        "app-workspace",
        "base net settings telemetry stream auth protocol hub event-bus session admission shard http socketio app-kit",
    ),
    // Its code is only compiled for tests, and its dependencies are those of tests.
    ("simulation", ""),
];

/// The modules of the root crate, in the same way.
const ROOT_LAYERS: &[(&str, &str)] = &[
    ("apps", ""),
    ("migration_version", ""),
    ("shell_word", ""),
    ("migration", "migration_version shell_word"),
    ("typescript", ""),
    ("config", "apps"),
    ("app", "apps config typescript shell_word"),
];

/// Foreign crates that only one crate may name, so that replacing one changes a single folder.
const OWNED_CRATES: &[(&str, &str)] = &[
    ("warp", "http"),
    ("hyper", "http"),
    ("hyper-util", "http"),
    ("listenfd", "http"),
    ("tokio-postgres", "postgres"),
    ("tokio-postgres-rustls", "postgres"),
    ("deadpool-postgres", "postgres"),
    ("jsonwebtoken", "auth"),
    ("mio", "shard"),
    ("prometheus-client", "telemetry"),
    ("tracing-subscriber", "telemetry"),
];

/// The crates of the workspace that the command may name besides the server: it starts them and
/// shows their output.
const COMMAND_CRATES: &[&str] = &[
    "latido",
    "latido_auth",
    "latido_base",
    "latido_embedded_postgres",
    "latido_net",
    "latido_postgres",
    "latido_settings",
    "latido_telemetry",
];

/// The files and folders whose results depend only on their arguments.
const PURE: &[&str] = &[
    "internal/base/src/ident.rs",
    "internal/inference/src/",
    "internal/stream/src/",
    "internal/protocol/src/",
    "internal/socketio-protocol/src/",
    "internal/session/src/",
    "internal/engine/src/dirty_set",
    "internal/event-bus/src/delivery_batch",
    "internal/event-bus/src/history",
    "internal/event-bus/src/presence",
];

/// Words that a pure file must not contain.
const IMPURE: &[&str] = &[
    "tokio",
    "async fn",
    "async move",
    ".await",
    "Instant::now",
    "SystemTime::now",
    "latido_base::clock",
];

/// The folders that never wait, except in the files beside them.
const NEVER_AWAIT: &[(&str, &[&str])] = &[
    ("internal/hub/src/", &["internal/hub/src/subscriber.rs"]),
    (
        "internal/event-bus/src/",
        &["internal/event-bus/src/mailbox.rs"],
    ),
];

/// The ways to start a task or thread that nothing counts.
const SPAWNS: &[&str] = &[
    "tokio::spawn",
    "task::spawn(",
    "spawn_local",
    "JoinSet",
    "TaskTracker",
    "thread::spawn",
    "thread::Builder",
];

/// The files that may start tasks: the drain itself, the one task that the connection pool owns and
/// aborts, and the threads that own sockets.
const SPAWNERS: &[&str] = &[
    "internal/base/src/drain.rs",
    "internal/postgres/src/connect.rs",
    "internal/shard/src/",
];

/// A crate of the workspace.
struct Member {
    /// The name without its prefix, such as `hub` or `app-gateway`.
    name: String,
    /// The names of its dependencies, without those of its tests.
    dependencies: BTreeSet<String>,
}

/// Returns every crate of the workspace except the root crate.
fn members() -> Vec<Member> {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let folders = manifest["workspace"]["members"].as_array().unwrap();
    folders
        .iter()
        .map(|folder| {
            let path = format!("{}/Cargo.toml", folder.as_str().unwrap());
            let manifest: toml::Table = read(&path).parse().unwrap();
            let name = manifest["package"]["name"].as_str().unwrap();
            let name = name.strip_prefix("latido-");
            Member {
                name: name.unwrap_or_else(|| panic!("{path}: the name")).into(),
                dependencies: dependencies(&manifest),
            }
        })
        .collect()
}

fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let for_targets = manifest
        .get("target")
        .and_then(toml::Value::as_table)
        .into_iter()
        .flat_map(toml::Table::values)
        .filter_map(|target| target.get("dependencies"));
    manifest
        .get("dependencies")
        .into_iter()
        .chain(for_targets)
        .filter_map(toml::Value::as_table)
        .flat_map(|table| table.keys().cloned())
        .collect()
}

/// Returns whether `table` lets `from` depend on `to`.
fn allows(table: &[(&str, &str)], from: &str, to: &str) -> bool {
    table
        .iter()
        .any(|(name, allowed)| *name == from && allowed.split(' ').any(|name| name == to))
}

#[test]
fn no_crate_depends_on_a_higher_layer() {
    let mut found = Vec::new();
    for member in members() {
        if !LAYERS.iter().any(|(name, _)| *name == member.name) {
            found.push(format!("{} has no place in LAYERS", member.name));
        }
        let own = member
            .dependencies
            .iter()
            .filter_map(|name| name.strip_prefix("latido-"));
        found.extend(
            own.filter(|name| !allows(LAYERS, &member.name, name))
                .map(|name| format!("{} depends on {name}", member.name)),
        );
    }
    assert_none(found, "a crate depends on one that it must not know");
}

#[test]
fn layers_are_in_order() {
    for table in [LAYERS, ROOT_LAYERS] {
        for (index, (name, allowed)) in table.iter().enumerate() {
            for lower in allowed.split_whitespace() {
                assert!(
                    table[..index].iter().any(|(below, _)| *below == lower),
                    "{name} may name {lower}, which is not below it"
                );
            }
        }
    }
}

#[test]
fn no_module_of_the_root_crate_names_a_higher_one() {
    let mut found = Vec::new();
    for file in production_files() {
        let Some(inside) = file.path.strip_prefix("internal/latido/") else {
            continue;
        };
        let module = inside.split(['/', '.']).next().unwrap_or_default();
        if module == "lib" {
            continue;
        }
        if !ROOT_LAYERS.iter().any(|(name, _)| *name == module) {
            found.push(format!("{} has no place in ROOT_LAYERS", file.path));
        }
        for (number, line) in file.code_lines() {
            let wrong = |name: &&str| {
                *name != module
                    && ROOT_LAYERS.iter().any(|(layer, _)| layer == name)
                    && !allows(ROOT_LAYERS, module, name)
            };
            found.extend(
                named_modules(line)
                    .into_iter()
                    .filter(wrong)
                    .map(|name| format!("{}:{number}: {name}", file.path)),
            );
        }
    }
    assert_none(found, "a module names another that it must not know");
}

/// Returns the module names after every `crate::`, including those of a group.
fn named_modules(line: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for rest in line.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group.split(',').map(str::trim)),
            None => names.push(rest),
        }
    }
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    names
        .iter()
        .map(|name| &name[..name.find(|c| !is_name(c)).unwrap_or(name.len())])
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn each_foreign_crate_has_one_owner() {
    let mut all: Vec<_> = members()
        .into_iter()
        .map(|member| (member.name, member.dependencies))
        .collect();
    let root: toml::Table = read("Cargo.toml").parse().unwrap();
    all.push(("latido".into(), dependencies(&root)));
    let mut found = Vec::new();
    for (foreign, owner) in OWNED_CRATES {
        assert!(
            all.iter()
                .any(|(name, dependencies)| name == owner && dependencies.contains(*foreign)),
            "{owner} no longer needs {foreign}"
        );
        found.extend(
            all.iter()
                .filter(|(name, dependencies)| name != owner && dependencies.contains(*foreign))
                .map(|(name, _)| format!("{name} depends on {foreign}, which {owner} owns")),
        );
    }
    assert_none(found, "a crate is named outside the crate that owns it");
}

#[test]
fn command_does_not_use_library_internals() {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for file in production_files() {
        if !file.path.starts_with("cmd/") {
            continue;
        }
        for (number, line) in file.code_lines() {
            for (at, _) in line.match_indices("latido") {
                let name = line[at..].split(|c| !is_name(c)).next().unwrap_or_default();
                let is_path = line[at + name.len()..].starts_with("::");
                if is_path && !line[..at].ends_with(is_name) && !COMMAND_CRATES.contains(&name) {
                    found.push(format!("{}:{number}: {name}", file.path));
                }
            }
        }
    }
    assert_none(found, "the command uses an internal crate");
}

#[test]
fn pure_files_have_no_side_effects() {
    for start in PURE {
        assert!(
            production_files()
                .iter()
                .any(|file| file.path.starts_with(start)),
            "{start} is not there"
        );
    }
    assert_none(
        production_files()
            .iter()
            .filter(|file| PURE.iter().any(|start| file.path.starts_with(start)))
            .flat_map(|file| file.matching_lines(IMPURE))
            .collect(),
        "a pure file waits or reads the clock",
    );
}

#[test]
fn topics_never_await() {
    let mut found = Vec::new();
    for (folder, exceptions) in NEVER_AWAIT {
        let files = production_files();
        let inside: Vec<_> = files
            .iter()
            .filter(|file| file.path.starts_with(folder))
            .collect();
        assert!(!inside.is_empty(), "{folder} is not there");
        found.extend(
            inside
                .iter()
                .filter(|file| !exceptions.contains(&file.path.as_str()))
                .flat_map(|file| file.matching_lines(&[".await", "async "])),
        );
    }
    assert_none(found, "the hub or the event bus awaits");
}

#[test]
fn every_spawned_task_is_counted() {
    let is_free = |path: &str| !SPAWNERS.iter().any(|start| path.starts_with(start));
    let found = production_files()
        .iter()
        .filter(|file| file.path.starts_with("internal/") && is_free(&file.path))
        .flat_map(|file| file.matching_lines(SPAWNS))
        .collect();
    assert_none(found, "a task is started that the drain does not count");
}

#[test]
fn nothing_is_unbounded() {
    assert_none(
        production_files()
            .iter()
            .flat_map(|file| file.matching_lines(&["unbounded"]))
            .collect(),
        "an unbounded channel",
    );
}

#[test]
fn lint_exceptions_have_a_reason() {
    let attribute = concat!("[al", "low(");
    let found = super::files::rust_files()
        .iter()
        .flat_map(|file| file.matching_lines(&[attribute]))
        .collect();
    assert_none(
        found,
        "a lint is silenced without #[expect(…, reason = \"…\")]",
    );
}
