//! The packaging names only existing files, ports, variables and commands. A test has no container
//! engine, so it reads the packaging files instead, and runs the commands of the services without
//! containers.

mod composition;
mod image;
mod running;

use std::fs;
use std::path::Path;
use std::process::Command;

/// The variables that the compose file requires and gives no default value. A key of tokens is
/// required as well, but it can be in one of several variables, so the server asks for it.
const REQUIRED_VARIABLES: [&str; 2] = ["POSTGRES_PASSWORD", "LATIDO_PASSWORD"];
/// The variables of `.env` that docker compose itself uses, beside the required ones.
const COMPOSE_VARIABLES: [&str; 2] = ["PUBLISH_ADDRESS", "COMPOSE_PROFILES"];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn exists(path: &str) -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists()
}

/// Returns the help of every command of the program, in one text.
fn help() -> String {
    let help_of = |arguments: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_latido"));
        let output = program
            .args(arguments)
            .env_clear()
            .current_dir(std::env::temp_dir())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let all = help_of(&["--help"]);
    let commands = all
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty());
    let commands: Vec<_> = commands
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty())
        .collect();
    commands
        .iter()
        .map(|command| help_of(&[command, "--help"]))
        .chain([all.clone()])
        .collect()
}

/// Returns whether the help documents a variable: clap writes `[env: NAME=…]`, and a variable
/// without a flag has its own line.
fn is_documented(name: &str, help: &str) -> bool {
    let ends = |rest: &str| {
        !rest.starts_with(|c: char| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit())
    };
    let begins = |before: &str| {
        !before.ends_with(|c: char| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit())
    };
    help.match_indices(name)
        .any(|(at, _)| begins(&help[..at]) && ends(&help[at + name.len()..]))
}

#[test]
fn example_names_only_documented_variables() {
    let help = help();
    for line in read(".env.example")
        .lines()
        .filter(|line| line.contains('=') && !line.starts_with("# "))
    {
        let name = line.trim_start_matches('#').split('=').next().unwrap();
        assert!(
            REQUIRED_VARIABLES.contains(&name)
                || COMPOSE_VARIABLES.contains(&name)
                || is_documented(name, &help),
            "{name} is not in --help"
        );
    }
    // The file as shipped must not start anything with a publicly known secret.
    for secret in REQUIRED_VARIABLES.iter().chain(&["JWT_SECRET"]) {
        assert!(
            read(".env.example")
                .lines()
                .any(|line| line == format!("{secret}="))
        );
    }
}

#[test]
fn each_readme_starts_with_two_commands() {
    let targets = read("Makefile");
    for name in ["README.md", "docs/es/README.md"] {
        let text = read(name);
        let blocks: Vec<_> = text
            .split("```")
            .skip(1)
            .step_by(2)
            .take(2)
            .map(|block| block.split_once('\n').unwrap().1.trim())
            .collect();
        assert_eq!(blocks, ["make run", "make test"], "{name}");
        for target in ["run", "test"] {
            assert!(targets.contains(&format!("\n{target}: ")), "make {target}");
        }
    }
}
