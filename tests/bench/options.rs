//! The command line: `cargo bench --bench bench -- [scenario…] [--rounds N] [--quick] [--list]`.

use anyhow::{Context as _, bail};

/// Rounds when nobody says how many: what fits into a quarter of an hour. A median deserves more.
const ROUNDS: usize = 2;

/// What to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Names, or beginnings of names, of scenarios; none: all.
    pub(crate) wanted: Vec<String>,
    /// How often each subject of a scenario is measured.
    pub(crate) rounds: usize,
    /// One round of shorter measurements: whether it works, not how fast it is.
    pub(crate) quick: bool,
    /// Say what there is and run nothing.
    pub(crate) list: bool,
}

impl Options {
    /// From the arguments behind the program's name. Cargo adds `--bench` when it is asked to measure; without it we were started by
    /// `cargo test --all-targets`, where minutes of measuring would be no test.
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
                name => options.wanted.push(name.to_owned()),
            }
        }
        options.list |= list;
        Ok(options)
    }

    /// Whether a scenario is asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty()
            || self
                .wanted
                .iter()
                .any(|start| name.starts_with(start.as_str()))
    }
}
