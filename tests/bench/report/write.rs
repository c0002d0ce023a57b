//! Writing a report.

use anyhow::Context as _;
use std::path::Path;

use super::results::{BenchReport, ScenarioResult};
use super::{chart, json, table};

impl ScenarioResult {
    /// Renders the scenario as a text table.
    pub(crate) fn render(&self) -> String {
        table::render_chapter(self)
    }
}

impl BenchReport {
    /// Renders the complete report as text.
    pub(crate) fn table(&self) -> String {
        table::render(self)
    }

    /// Writes `bench.json` and `bench.svg` to a folder.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
        };
        write("bench.json", json::render(self)?)?;
        write("bench.txt", self.table())?;
        write("bench.svg", chart::render(self))
    }
}
