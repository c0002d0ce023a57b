//! The command line: `cargo bench --bench bench -- [scenario…] [--rounds N] [--quick] [--list]`.

use anyhow::{Context as _, bail};

/// The default number of rounds, which fits into a quarter of an hour. A good median needs more.
const ROUNDS: usize = 2;

/// The parsed command-line options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BenchOptions {
    /// The names, or prefixes of names, of the requested scenarios. Empty means all.
    pub(crate) scenarios: Vec<String>,
    /// The number of measurements of each subject.
    pub(crate) rounds: usize,
    /// Runs only one round of shorter measurements, to test the benchmark itself.
    pub(crate) quick: bool,
    /// Lists the scenarios and runs nothing.
    pub(crate) list: bool,
}

impl BenchOptions {
    /// Parses the arguments after the program name. Cargo adds `--bench` when it measures. Without
    /// that argument `cargo test --all-targets` started this program, and minutes of measuring
    /// would be no test.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            rounds: ROUNDS,
            list: true,
            ..Self::default()
        };
        let (mut list, mut arguments) = (false, arguments.peekable());
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => options.list = false,
                "--list" => list = true,
                "--quick" => (options.quick, options.rounds) = (true, 1),
                "--rounds" => {
                    let value = arguments.next().context("--rounds needs a number")?;
                    options.rounds = value
                        .parse::<usize>()
                        .ok()
                        .filter(|n| *n > 0)
                        .context("--rounds needs a number above 0")?;
                }
                other if other.starts_with('-') => {
                    bail!("unknown option {other}; there are --rounds N, --quick and --list")
                }
                name => options.scenarios.push(name.to_owned()),
            }
        }
        options.list |= list;
        Ok(options)
    }

    /// Returns whether a scenario is requested.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.scenarios.is_empty()
            || self
                .scenarios
                .iter()
                .any(|start| name.starts_with(start.as_str()))
    }
}
