//! The benchmark: `make bench`, or `cargo bench --bench bench -- [scenario…] [--rounds N] [--quick]
//! [--list]`.
//!
//! Each scenario measures one promise of docs/benchmarks/README.md next to the *floor* (the same
//! bytes sent by minimal code) and next to other servers. It writes a table, `bench.json` and
//! `bench.svg` in `target/bench/`. Nothing here fails because something is slow: the program prints figures for
//! a human to judge. It starts itself again for roles that need their own process, each on its own
//! core: `load` (the clients), `floor`, and `hub` (Latido's library without a database, with
//! generated publications).

mod cluster;
mod database;
mod floor;
mod hub;
mod keys;
mod load;
mod machine;
mod options;
mod output;
mod pacer;
mod peers;
mod process;
mod report;
mod runner;
mod scenarios;
mod server;
mod subject;
mod web;
mod writer;

use anyhow::{bail, ensure};

use crate::options::BenchOptions;
use crate::output::print;
use crate::runner::Scenario;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|first| first == "role").is_some() {
        return run_role(&arguments.next().unwrap_or_default());
    }
    let options = BenchOptions::parse(arguments)?;
    let scenarios = scenarios();
    check(&scenarios, &options)?;
    if options.list {
        return list(&scenarios);
    }
    runner::run(&scenarios, options)
}

/// Returns every scenario, in the order of their runs.
fn scenarios() -> Vec<Scenario> {
    [scenarios::ALL, database::ALL].concat()
}

/// Runs a role of this program in a child process.
fn run_role(role: &str) -> anyhow::Result<()> {
    machine::raise_open_files();
    match role {
        "load" => load::run_role(),
        "floor" => floor::run_role(),
        "hub" => hub::run_role(),
        other => bail!("no such role: {other}"),
    }
}

/// Checks the list of scenarios without measuring. `cargo test --all-targets` does only this.
fn check(scenarios: &[Scenario], options: &BenchOptions) -> anyhow::Result<()> {
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
            "{} has no description",
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
    for start in &options.scenarios {
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
    print(&lines)
}
