//! Starts the app.

use std::sync::Arc;

use crate::database::ModulesDatabase;
use crate::row_notifications::{FULL_READ_INTERVAL, RowNotifications};
use latido_app_kit::{AppDeps, AppServices};
use latido_auth::Verifier;

use crate::app::ModulesApp;
use crate::config::Config;
use crate::socketio::ModulesSocketIo;
use crate::upgrade::DeviceUpgrade;
use crate::{routes, stats_feed};

/// Starts the app on the current runtime.
///
/// # Errors
/// Returns an error if the time zone does not exist, a key is not usable, or the system has no
/// randomness.
pub(crate) fn start(config: &Config, deps: &AppDeps) -> anyhow::Result<AppServices> {
    let verifier = match &config.verifier {
        None => Arc::clone(&deps.verifier),
        Some(own_verifier) => {
            let verifier =
                Verifier::new(own_verifier, deps.clock.clone())?.with_limit_of(&deps.verifier);
            verifier.start(&deps.drain);
            Arc::new(verifier)
        }
    };
    let store = ModulesDatabase::new(&deps.database, &config.session_sql);
    let app = Arc::new(ModulesApp::build(
        config.clone(),
        Arc::new(store),
        verifier,
        deps.clock.clone(),
        deps.drain.clone(),
    )?);
    app.drain.spawn_until_stop(Arc::clone(&app).run_timers());
    let saving_app = Arc::clone(&app);
    app.drain
        .spawn(async move { saving_app.persist_state().await });
    app.drain.spawn_until_stop(stats_feed::watch_stats(
        Arc::clone(&app.service),
        Arc::clone(&deps.hub),
        Arc::clone(&deps.catalog),
    ));
    let (notifications, hint_receiver) = RowNotifications::new();
    let notifications = Arc::new(notifications);
    let poller = Arc::clone(&notifications);
    app.drain
        .spawn_until_stop(async move { poller.poll_without_delivery(FULL_READ_INTERVAL).await });
    app.drain
        .spawn_until_stop(Arc::clone(&app).watch_rows(hint_receiver));
    let socket_app = Arc::new(ModulesSocketIo(Arc::clone(&app)));
    let device_upgrade = Arc::new(DeviceUpgrade::new(Arc::clone(&app), deps.limits));
    Ok(AppServices {
        socketio_apps: vec![socket_app],
        http_apps: vec![Arc::new(routes::router(app))],
        websocket_apps: vec![device_upgrade],
        cookie_origins: config.allowed_origins.clone(),
        notifications: Some(notifications),
    })
}
