//! `pgbench` as the writer of a scenario.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::cluster::BenchDatabase;

/// The time before pgbench counts, in seconds.
const WARM_UP: usize = 2;

/// A pgbench script, in a file.
pub(crate) struct PgbenchScript(PathBuf);

impl PgbenchScript {
    pub(crate) fn new(name: &str, text: &str) -> anyhow::Result<Self> {
        let path = crate::output::output_folder()?.join(format!("{name}.sql"));
        std::fs::write(&path, text).context("writing pgbench's script")?;
        Ok(Self(path))
    }

    /// Returns the transactions per second after a warm-up: every connection must have its plans
    /// and functions, which real servers keep for hours.
    pub(crate) fn run(
        &self,
        pgbench: &PathBuf,
        database: &BenchDatabase,
        clients: usize,
        seconds: f64,
    ) -> anyhow::Result<f64> {
        let mut command = Command::new(pgbench);
        command
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=1", "--file"])
            .arg(&self.0);
        let time = (seconds.round() + WARM_UP as f64).to_string();
        command.args([
            "--client",
            &clients.to_string(),
            "--time",
            &time,
            "--progress",
            "1",
            &database.url,
        ]);
        let output = command.output().context("starting pgbench")?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "pgbench: {text}");
        // Parses «progress: 3.0 s, 5123.1 tps, lat 3.1 ms …», one line per second.
        let second = |line: &str| {
            line.strip_prefix("progress: ")?
                .split(' ')
                .nth(2)?
                .parse::<f64>()
                .ok()
        };
        let tps: Vec<f64> = text.lines().filter_map(second).skip(WARM_UP).collect();
        ensure!(!tps.is_empty(), "pgbench printed {text}");
        Ok(tps.iter().sum::<f64>() / tps.len() as f64)
    }
}

/// Returns the path of pgbench. Debian installs it next to the server programs.
pub(crate) fn find_pgbench() -> Option<PathBuf> {
    let in_path = std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join("pgbench"))
        .collect::<Vec<_>>();
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|dir| dir.path().join("bin/pgbench"));
    in_path
        .into_iter()
        .chain(debian)
        .find(|path| path.is_file())
}
