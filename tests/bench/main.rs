//! The benchmark: `make bench`, or `cargo bench --bench bench -- [scenario…] [--rounds N] [--quick] [--list]`.
//!
//! Each scenario measures one promise of docs/PERFORMANCE.md beside the *floor* (the same bytes by the least code that can send them) and
//! beside other servers, and leaves a table, `bench.json` and `bench.svg` in `target/bench/`. Nothing here fails because something is
//! slow: figures are printed, people judge. The program starts itself again for roles that need a process of their own, each on
//! its own core: `load` (the clients), `floor`, and `hub` (Latido's library without a database, told what to publish).

mod beat;
mod campaign;
mod contender;
mod database;
mod floor;
mod hub;
mod keys;
mod load;
mod machine;
mod options;
mod peers;
mod process;
mod report;
mod scenarios;
mod server;
mod store;
mod web;
mod writer;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};

use crate::campaign::Scenario;
use crate::options::Options;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|first| first == "role").is_some() {
        return play(&arguments.next().unwrap_or_default());
    }
    let options = Options::parse(arguments)?;
    let scenarios = scenarios();
    check(&scenarios, &options)?;
    if options.list {
        return list(&scenarios);
    }
    campaign::run(&scenarios, options)
}

/// Every scenario, in the order they run.
fn scenarios() -> Vec<Scenario> {
    [scenarios::ALL, database::ALL].concat()
}

/// A child's life.
fn play(role: &str) -> anyhow::Result<()> {
    machine::raise_open_files();
    match role {
        "load" => load::play(),
        "floor" => floor::play(),
        "hub" => hub::play(),
        other => bail!("no such role: {other}"),
    }
}

/// What can be said about the registry without measuring: this is all that `cargo test --all-targets` does.
fn check(scenarios: &[Scenario], options: &Options) -> anyhow::Result<()> {
    for (index, scenario) in scenarios.iter().enumerate() {
        let well_formed = !scenario.name.is_empty()
            && scenario
                .name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c == '-');
        ensure!(
            well_formed,
            "the name {:?} is not of lower-case letters and hyphens",
            scenario.name
        );
        ensure!(
            !scenario.about.is_empty(),
            "{} does not say what it is about",
            scenario.name
        );
        ensure!(
            scenarios[..index]
                .iter()
                .all(|other| other.name != scenario.name),
            "two scenarios are called {}",
            scenario.name
        );
    }
    for start in &options.wanted {
        let known = scenarios
            .iter()
            .any(|scenario| scenario.name.starts_with(start.as_str()));
        ensure!(known, "no scenario begins with {start}; --list names them");
    }
    Ok(())
}

fn list(scenarios: &[Scenario]) -> anyhow::Result<()> {
    let lines: String = scenarios
        .iter()
        .map(|scenario| format!("{:<22} {}\n", scenario.name, scenario.about))
        .collect();
    say(&lines)
}

/// Prints to whoever asked for the figures.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("writing to the terminal")
}

/// Where results, logs and peers lie: `target/bench`, made if need be.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}
