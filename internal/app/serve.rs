//! `latido serve`: a server until a signal ends it.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, Config};
use crate::config::Settings;

/// Runs a server with these settings until SIGTERM, SIGINT, or a part that can't go on.
///
/// # Errors
/// It could not start, something in it broke, or not everyone had left at the deadline.
pub async fn serve(settings: Settings) -> anyhow::Result<()> {
    let app = App::start(Config::new(settings)?)?;
    until_ended(app).await
}

/// Waits for the end, and ends in order.
pub(super) async fn until_ended(app: App) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("can't watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't watch for SIGINT")?;
    let broken = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = app.broken() => true,
    };
    tracing::info!("stopping: clients are asked to come back elsewhere");
    let stop = app.stop();
    let in_time = tokio::select! {
        in_time = stop => in_time,
        _ = terminate.recv() => anyhow::bail!("stopped at once, at the second signal"),
        _ = interrupt.recv() => anyhow::bail!("stopped at once, at the second signal"),
    };
    anyhow::ensure!(
        !broken,
        "a part of the server could not go on; the log says which"
    );
    anyhow::ensure!(in_time, "the deadline passed before everyone had left");
    tracing::info!("stopped");
    Ok(())
}
