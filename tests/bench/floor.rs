//! A role; see `main`.

/// Runs it.
pub(crate) fn play() -> anyhow::Result<()> {
    anyhow::bail!("not there yet")
}
