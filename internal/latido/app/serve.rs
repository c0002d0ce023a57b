//! The command `latido serve`: a server that runs until a signal ends it.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::config::Config;
use crate::app::reload::ReloadSource;
use crate::app::server::App;
use crate::app::stream_inference::complete_streams;
use crate::config::Settings;

/// Runs a server with these settings, which SIGHUP reads again from their origin, until SIGTERM,
/// SIGINT, or the failure of a part. `on_started` gets the address of the main listener, with the
/// real port if port 0 was requested.
///
/// # Errors
/// Returns an error if the server cannot start, if a part of it failed, or if clients were left at
/// the deadline.
pub async fn serve(
    settings: Settings,
    source: ReloadSource,
    on_started: impl FnOnce(SocketAddr),
) -> anyhow::Result<()> {
    // From here on the signal does not end the process. An early one counts after the start.
    let hangup = signal(SignalKind::hangup()).context("can't watch for SIGHUP")?;
    let settings = complete_streams(settings).await?;
    let app = App::start(Config {
        reload: Some(source),
        ..Config::new(settings)
    })?;
    app.start_reload_on(hangup);
    on_started(app.address());
    run_until_stopped(app).await
}

/// Waits for a signal or a failure, then stops the server in order.
pub(super) async fn run_until_stopped(app: App) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("can't watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't watch for SIGINT")?;
    let has_failed = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = app.failed() => true,
    };
    tracing::info!("stopping: clients are asked to come back elsewhere");
    let stop = app.stop();
    let in_time = tokio::select! {
        in_time = stop => in_time,
        _ = terminate.recv() => anyhow::bail!("stopped at once, at the second signal"),
        _ = interrupt.recv() => anyhow::bail!("stopped at once, at the second signal"),
    };
    anyhow::ensure!(
        !has_failed,
        "a part of the server failed; see the log for details"
    );
    anyhow::ensure!(
        in_time,
        "the deadline passed before all clients had disconnected"
    );
    tracing::info!("stopped");
    Ok(())
}
