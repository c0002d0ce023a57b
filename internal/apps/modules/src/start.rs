//! Starts the app.

use std::sync::Arc;

use tokio::sync::mpsc;

use latido_app_kit::{AppDeps, AppServices};
use latido_auth::Verifier;
use latido_postgres::apps::modules::{ModulesDatabase, RowHint};

use crate::app::ModulesApp;
use crate::config::Config;
use crate::socketio::ModulesSocketIo;
use crate::store::ModuleStore;
use crate::upgrade::DeviceUpgrade;
use crate::{routes, stats_feed};

/// The largest number of queued hints of changed rows. If the queue is full, all rows are read.
const MAX_QUEUED_HINTS: usize = 256;

/// Starts the app on the current runtime.
///
/// # Errors
/// Returns an error if the time zone does not exist, a key is not usable, or the system has no
/// randomness.
pub fn start(config: &Config, deps: &AppDeps) -> anyhow::Result<AppServices> {
    let verifier = match &config.verifier {
        None => Arc::clone(&deps.verifier),
        Some(own_verifier) => {
            let verifier = Verifier::new(own_verifier, deps.clock.clone())?;
            verifier.start(&deps.drain);
            Arc::new(verifier)
        }
    };
    let store = Arc::new(ModulesDatabase::new(&deps.database, &config.session_sql));
    let stored: Arc<dyn ModuleStore> = Arc::clone(&store) as _;
    let app = Arc::new(ModulesApp::build(
        config.clone(),
        stored,
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
    let (hint_sender, hint_receiver) = mpsc::channel(MAX_QUEUED_HINTS);
    app.drain.spawn_until_stop(async move {
        store
            .listen(|received| enqueue_hint(&hint_sender, received))
            .await
    });
    app.drain
        .spawn_until_stop(Arc::clone(&app).watch_rows(hint_receiver));
    let socket_app = Arc::new(ModulesSocketIo(Arc::clone(&app)));
    let device_upgrade = Arc::new(DeviceUpgrade::new(Arc::clone(&app), deps.limits));
    Ok(AppServices {
        socketio_apps: vec![socket_app],
        http_apps: vec![Arc::new(routes::router(app))],
        websocket_apps: vec![device_upgrade],
    })
}

/// Queues a hint. If the queue is full, the reader is behind, and the last queued hint makes it
/// read all rows.
fn enqueue_hint(hint_sender: &mpsc::Sender<RowHint>, hint: RowHint) {
    if let Ok(permit) = hint_sender.try_reserve() {
        // The last slot is reserved for `Everything`, which covers all hints that find no slot.
        permit.send(if hint_sender.capacity() == 0 {
            RowHint::All
        } else {
            hint
        });
    }
}
