//! Where results go.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

/// Prints a text to standard output.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("writing to the terminal")
}

/// Returns the folder for results, logs and peers, `target/bench`, and creates it if it is missing.
pub(crate) fn output_folder() -> anyhow::Result<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}
