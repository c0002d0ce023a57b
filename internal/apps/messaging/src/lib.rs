//! Messaging over Phoenix Channels, for unmodified `phoenix` clients: channels per user and per
//! conversation, stored in PostgreSQL.
//!
//! A client's push becomes one statement, and its reply goes to that client. All other events, also
//! those that the sending client receives, come from the `change_feed`. The feed reads committed
//! changes, no matter which program committed them. A message is therefore broadcast because it is
//! stored, and for no other reason.

mod api_version;
mod authenticate;
mod change_feed;
mod change_source;
mod channels;
mod config;
mod connection;
mod connection_topics;
mod database;
mod feed_trigger;
mod frames;
#[cfg(test)]
mod heartbeat_tests;
mod long_poll;
mod name;
mod notification_api;
mod payload;
mod presence;
mod running;
mod settings;
mod shared;
mod store;
mod upgrade;
mod user_rate_limit;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use latido_app_kit::{App, AppDeps, AppSchema, AppServices, ServerSettings, Starter};
use latido_postgres::{Database, Finding};
use latido_settings::{SettingsReader, Variable};

#[cfg(any(test, fuzzing, feature = "testing"))]
pub use channels::fuzz_channel_session;
use config::{Config, socket_limits};
pub use database::{
    ChangeCursor, MessageDraft, MessagingDatabase, ReactionOutcome, SCHEMA, StoredMessage,
    WriteOutcome,
};
use feed_trigger::FeedTrigger;
use long_poll::LongPoll;
use name::NAME;
use notification_api::NotificationApi;
use running::MessagingApp;

/// The description of the app's addresses.
const OPENAPI: &str = include_str!("openapi.json");

/// The app, as the list of apps names it.
#[derive(Debug)]
pub struct Messaging;

impl App for Messaging {
    fn name(&self) -> &'static str {
        NAME
    }

    fn variables(&self) -> &'static [Variable] {
        settings::VARIABLES
    }

    fn schema(&self) -> Option<&'static AppSchema> {
        Some(&SCHEMA)
    }

    fn examine<'a>(&'a self, database: &'a Database) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(async {
            let messages = MessagingDatabase::new(database.clone());
            vec![match messages.check_schema().await {
                Ok(()) => Finding::ok(NAME, "its tables are there"),
                Err(error) => Finding::failure(NAME, error.to_string())
                    .remedy("latido install, with the app switched on"),
            }]
        })
    }

    fn openapi(&self) -> Option<&'static str> {
        Some(OPENAPI)
    }

    fn configure(&self, reader: &mut SettingsReader<'_>, server: &ServerSettings<'_>) -> Starter {
        let config = Config::from_settings(reader, server.verifier);
        Arc::new(move |deps| start(&config, deps))
    }
}

/// Starts the app. The database may be down; until it is up, clients get a 503 and retry.
fn start(config: &Config, deps: &AppDeps) -> anyhow::Result<AppServices> {
    let messages = MessagingDatabase::new(deps.database.writer(config.pool_size)?);
    let notifications = notification_api::router(NotificationApi {
        database: messages.clone(),
        keys: config.api_keys.clone(),
    });
    let config = Config {
        limits: socket_limits(deps.limits),
        ..config.clone()
    };
    let trigger = FeedTrigger::default();
    let app = MessagingApp::start(
        &config,
        messages,
        trigger.clone(),
        &deps.verifier,
        deps.clock.clone(),
        &deps.drain,
    )?;
    let long_poll = LongPoll::start(Arc::clone(&app.shared), &deps.drain);
    Ok(AppServices {
        http_apps: vec![Arc::new(long_poll), Arc::new(notifications)],
        websocket_apps: vec![Arc::new(app)],
        notifications: Some(Arc::new(trigger)),
        ..AppServices::default()
    })
}
