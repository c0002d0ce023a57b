//! The house style as tests: allowed imports, forbidden constructs, and size limits.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The modules of `internal/` that each module may name, in the order of the layers. No module
/// names a higher layer, and no running part is visible to a pure one. The lowest layers, `ident
/// drain telemetry clock`, name no module of this crate.
const LAYERS: &[(&str, &str)] = &[
    ("ident", ""),
    ("drain", ""),
    ("telemetry", ""),
    ("clock", ""),
    ("stream", "ident"),
    ("auth", "ident stream drain clock"),
    ("protocol", "ident stream"),
    ("hub", "ident stream protocol"),
    ("postgres", "ident stream drain telemetry clock"),
    (
        "engine",
        "ident stream protocol hub postgres drain telemetry clock",
    ),
    ("websocket", "protocol"),
    ("session", "ident stream auth protocol websocket"),
    (
        "shard",
        "ident stream auth protocol hub websocket session drain telemetry clock",
    ),
    // Apps use it as their interface. Of the hub it only knows the event bus.
    ("socketio", "protocol hub drain"),
    (
        "operations",
        "ident stream auth protocol hub engine session shard drain telemetry clock",
    ),
    // The demo gives http its responses. It is not an app, and it knows no database.
    ("demo", "drain clock"),
    (
        "http",
        "ident stream auth protocol hub engine websocket session shard socketio operations demo drain telemetry clock",
    ),
    (
        "apps",
        "ident stream auth protocol hub postgres engine session shard socketio operations http drain telemetry clock",
    ),
    (
        "config",
        "ident stream auth protocol hub postgres engine websocket session shard socketio operations demo http apps drain telemetry clock",
    ),
    (
        "fuzz",
        "ident stream auth protocol postgres websocket session http apps config clock",
    ),
    (
        "app",
        "ident stream auth protocol hub postgres engine websocket session shard socketio operations demo http apps config drain telemetry clock",
    ),
];

/// Crates that only one module may name, so that replacing one changes a single folder.
const OWNED_CRATES: &[(&str, &str)] = &[
    ("warp", "http"),
    ("hyper", "http"),
    ("hyper_util", "http"),
    ("tokio_postgres", "postgres"),
    ("tokio_postgres_rustls", "postgres"),
    ("deadpool_postgres", "postgres"),
    ("jsonwebtoken", "auth"),
    ("mio", "shard"),
    ("socketioxide", "socketio"),
    ("tower_service", "socketio"),
];

/// The modules and files whose results depend only on their arguments.
const PURE: &[&str] = &[
    "internal/ident.rs",
    "internal/stream/",
    "internal/protocol/",
    "internal/websocket/",
    "internal/session/",
    "internal/engine/dirty",
    "internal/hub/exchange/batch",
    "internal/hub/exchange/presence",
    "internal/hub/exchange/ring",
];

/// Words that a pure file must not contain.
const IMPURE: &[&str] = &[
    "tokio",
    "async fn",
    "async move",
    ".await",
    "Instant::now",
    "SystemTime::now",
    "crate::clock",
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
    "internal/drain.rs",
    "internal/postgres/connect.rs",
    "internal/shard/",
];

/// The modules that the command must not use: it starts the library and shows its output.
const INTERNAL_MODULES: &[&str] = &[
    "drain",
    "engine",
    "http",
    "hub",
    "ident",
    "operations",
    "protocol",
    "session",
    "shard",
    "socketio",
    "stream",
    "websocket",
];

/// The allowed entries of the top-level folder.
const TOP_LEVEL: &str = ".ci .clippy.toml .deny.toml .devcontainer .dockerignore .editorconfig .env.example .git-blame-ignore-revs .github .gitignore \
    CHANGELOG.md CONTRIBUTING.md Cargo.lock Cargo.toml Dockerfile LICENSE Makefile README.md SECURITY.md clients cmd \
    docker-compose.yml docs examples fuzz internal rust-toolchain.toml sql tests";

const MAX_FILE_LINES: usize = 400;

/// A Rust source file of this repository.
struct RustFile {
    /// The path relative to the root, with forward slashes.
    path: String,
    /// The complete text of the file.
    text: String,
}

impl RustFile {
    /// Returns the module of `internal/` that the file belongs to.
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("internal/").unwrap_or_default();
        inside
            .split_once('/')
            .map_or_else(|| inside.trim_end_matches(".rs"), |(folder, _)| folder)
    }

    /// Returns whether only tests compile this file.
    fn is_test(&self) -> bool {
        !self.path.starts_with("internal/") || self.path.contains("test")
    }

    /// Returns the numbered code lines, without comments and without the tests at the end.
    fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self
            .text
            .find("\n#[cfg(test)]\nmod tests {")
            .unwrap_or(self.text.len());
        let lines = self.text[..end]
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// Returns the code lines that contain one of `words`.
    fn matching_lines(&self, words: &[&str]) -> Vec<String> {
        let found = self
            .code_lines()
            .filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        found
            .map(|(number, line)| format!("{}:{number}: {}", self.path, line.trim()))
            .collect()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, into)
        } else {
            into.push(path)
        }
    }
}

fn rust_files() -> Vec<RustFile> {
    let mut files = Vec::new();
    for folder in ["internal", "cmd", "tests", "examples"] {
        files_below(&root().join(folder), &mut files);
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let source = |path: PathBuf| {
        let relative = path
            .strip_prefix(root())
            .unwrap()
            .to_string_lossy()
            .replace('\\', "/");
        RustFile {
            path: relative,
            text: fs::read_to_string(&path).unwrap(),
        }
    };
    files.into_iter().map(source).collect()
}

/// Returns the server's own sources, without tests.
fn production_files() -> Vec<RustFile> {
    rust_files()
        .into_iter()
        .filter(|source| source.path != "internal/lib.rs" && !source.is_test())
        .collect()
}

fn assert_none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// Returns the module names after every `crate::`, including those of a group.
fn named_modules(line: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for rest in line.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => names.extend(
                group
                    .split(',')
                    .map(|item| item.trim().split("::").next().unwrap_or_default()),
            ),
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
fn no_module_imports_upward() {
    let mut found = Vec::new();
    for source in production_files() {
        let module = source.module();
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            found.push(format!("{}: has no place in LAYERS", source.path));
            continue;
        };
        for (number, line) in source.code_lines() {
            let wrong = |name: &&str| {
                *name != module
                    && LAYERS.iter().any(|(layer, _)| layer == name)
                    && !allowed.split(' ').any(|ours| ours == *name)
            };
            found.extend(
                named_modules(line)
                    .into_iter()
                    .filter(wrong)
                    .map(|name| format!("{}:{number}: {name}", source.path)),
            );
        }
    }
    assert_none(found, "a module names another that it must not know");
}

#[test]
fn layers_are_in_order() {
    for (index, (module, allowed)) in LAYERS.iter().enumerate() {
        for name in allowed.split_whitespace() {
            assert!(
                LAYERS[..index].iter().any(|(below, _)| *below == name),
                "{module} may name {name}, which is not below it"
            );
        }
    }
}

#[test]
fn each_crate_has_one_owner() {
    let mut found = Vec::new();
    for source in production_files() {
        for (name, _) in OWNED_CRATES
            .iter()
            .filter(|(_, owner)| *owner != source.module())
        {
            let (path, import) = (format!("{name}::"), format!("use {name};"));
            let whole = |line: &str, at: usize| {
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
            };
            let names = |line: &str| {
                [&path, &import]
                    .iter()
                    .any(|word| line.match_indices(*word).any(|(at, _)| whole(line, at)))
            };
            found.extend(
                source
                    .code_lines()
                    .filter(|(_, line)| names(line))
                    .map(|(number, line)| format!("{}:{number}: {line}", source.path)),
            );
        }
    }
    assert_none(found, "a crate is named outside the module that owns it");
}

#[test]
fn command_does_not_use_library_internals() {
    let mut found = Vec::new();
    for source in rust_files()
        .iter()
        .filter(|source| source.path.starts_with("cmd/"))
    {
        for (number, line) in source.code_lines() {
            let names = line
                .split("latido::")
                .skip(1)
                .filter(|rest| !rest.starts_with('{'));
            let names = names.map(|rest| {
                rest.split(|c: char| !c.is_ascii_lowercase() && c != '_')
                    .next()
                    .unwrap_or_default()
            });
            found.extend(
                names
                    .filter(|name| INTERNAL_MODULES.contains(name))
                    .map(|name| format!("{}:{number}: {name}", source.path)),
            );
        }
    }
    assert_none(found, "the command reaches into the workings");
}

#[test]
fn pure_files_have_no_side_effects() {
    let pure = |source: &RustFile| PURE.iter().any(|start| source.path.starts_with(start));
    assert_none(
        production_files()
            .iter()
            .filter(|source| pure(source))
            .flat_map(|source| source.matching_lines(IMPURE))
            .collect(),
        "a pure file waits",
    );
}

#[test]
fn hub_never_awaits() {
    let hub =
        |source: &&RustFile| source.module() == "hub" && source.path != "internal/hub/watcher.rs";
    assert_none(
        production_files()
            .iter()
            .filter(hub)
            .flat_map(|source| source.matching_lines(&[".await", "async "]))
            .collect(),
        "the hub awaits",
    );
}

#[test]
fn every_spawned_task_is_counted() {
    let free = |source: &&RustFile| !SPAWNERS.iter().any(|start| source.path.starts_with(start));
    let found = production_files()
        .iter()
        .filter(free)
        .flat_map(|source| source.matching_lines(SPAWNS))
        .collect();
    assert_none(found, "a task is started that the drain does not count");
}

#[test]
fn nothing_is_unbounded() {
    assert_none(
        production_files()
            .iter()
            .flat_map(|source| source.matching_lines(&["unbounded"]))
            .collect(),
        "an unbounded channel",
    );
}

#[test]
fn lint_exceptions_have_a_reason() {
    let hushed = concat!("[al", "low(");
    let found = rust_files()
        .iter()
        .flat_map(|source| source.matching_lines(&[hushed]))
        .collect();
    assert_none(
        found,
        "a lint is silenced without #[expect(…, reason = \"…\")]",
    );
}

#[test]
fn files_are_small() {
    let long = |source: &RustFile| {
        let lines = source.text.lines().count();
        (lines > MAX_FILE_LINES).then(|| format!("{}: {lines} lines", source.path))
    };
    assert_none(
        rust_files().iter().filter_map(long).collect(),
        "a file is longer than 400 lines",
    );
}

#[test]
fn every_file_starts_with_documentation() {
    // A test file that was only split off for its length is described at its declaration.
    let silent = |source: &RustFile| {
        !source.text.starts_with("//!")
            && !source.text.starts_with("#![doc")
            && !source.path.ends_with("_tests.rs")
    };
    let found = rust_files().into_iter().filter(silent);
    assert_none(
        found.map(|source| source.path).collect(),
        "a file does not begin with what it is for",
    );
    let mut missing = Vec::new();
    for entry in fs::read_dir(root().join("internal")).unwrap() {
        let folder = entry.unwrap().path();
        if folder.is_dir() && !folder.join("mod.rs").is_file() {
            missing.push(folder.display().to_string());
        }
    }
    assert_none(missing, "a folder has no mod.rs");
}

#[test]
fn no_private_key_is_committed() {
    let mut files = Vec::new();
    for folder in [".ci", "cmd", "internal", "sql", "tests"] {
        files_below(&root().join(folder), &mut files);
    }
    let begins = concat!("-----", "BEGIN");
    let holds_key = |path: &&PathBuf| {
        let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        text.lines()
            .any(|line| line.contains(begins) && line.contains("PRIVATE KEY-----"))
    };
    let found = files
        .iter()
        .filter(holds_key)
        .map(|path| path.display().to_string());
    assert_none(found.collect(), "a private key; make it when the test runs");
}

#[test]
fn top_level_has_only_known_entries() {
    // Uses the tracked files, or without git all files except dotfiles: a working copy may contain
    // an editor's folders and a .env.
    let tracked = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output();
    let tracked = tracked
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8(output.stdout).unwrap());
    let names: BTreeSet<String> = match &tracked {
        Some(list) => list
            .split('\0')
            .filter_map(|path| path.split('/').next())
            .filter(|name| !name.is_empty())
            .map(Into::into)
            .collect(),
        None => {
            let names = fs::read_dir(root())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
            names
                .filter(|name| name != "target" && !name.starts_with('.'))
                .collect()
        }
    };
    let stray = names
        .into_iter()
        .filter(|name| !TOP_LEVEL.split_whitespace().any(|known| known == name));
    assert_none(
        stray.collect(),
        "a file at the top level has no place there",
    );
}
