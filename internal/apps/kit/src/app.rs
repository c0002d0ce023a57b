//! The interface between the server and an app.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use latido_auth::VerifierConfig;
use latido_postgres::{AppSchema, Database, Finding};
use latido_settings::{SettingsReader, Variable};
use latido_stream::Stream;

use crate::{AppDeps, AppServices};

/// An app: everything that the server must know about it. Only a name and a start are required;
/// every other part has a default that means «none».
///
/// The server calls these functions in the order in which they stand here. Only
/// [`configure`](App::configure) and what follows it are called for `latido serve` alone.
pub trait App: Send + Sync {
    /// Returns the name: the word in `LATIDO_APPS` and `[apps.NAME]`, and the label `app` of
    /// metrics.
    fn name(&self) -> &'static str;

    /// Returns the settings, as listed in the help and in the documents.
    fn variables(&self) -> &'static [Variable] {
        &[]
    }

    /// Returns the streams that the app brings. They are installed like others, and a stream of the
    /// same name in the `latido.toml` replaces one. `time_zone` is the server's.
    fn streams(&self, _time_zone: &str) -> Vec<Stream> {
        Vec::new()
    }

    /// Returns the SQL that `latido install` and `latido uninstall` run for the app.
    fn schema(&self) -> Option<&'static AppSchema> {
        None
    }

    /// Returns whether the app uses the database by itself, beside its streams. Then the connections to
    /// it cannot sleep.
    fn uses_database(&self) -> bool {
        self.schema().is_some() || !self.channels().is_empty()
    }

    /// Checks what `latido doctor` reports about the app. The database may be unavailable.
    fn examine<'a>(&'a self, _database: &'a Database) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(async { Vec::new() })
    }

    /// Returns the NOTIFY channels that the app needs beside the server's own. On the server's own
    /// channel, the payload `["app:NAME",""]` reaches an app without further ado.
    fn channels(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns the part of `/openapi.json` that describes the app's addresses: an OpenAPI document
    /// with `paths`, and the `tags` and `components` that they need. The listener adds it to the
    /// server's own document, leaves out the paths that it sends to somebody else, and serves the
    /// result.
    ///
    /// - Every route of the app's router stands in `paths`; [`Router::undocumented_routes`] tells
    ///   a test which do not.
    /// - A WebSocket is no operation. It stands in its path item as `x-websocket`, with a
    ///   `description` and the `responses` to the upgrade.
    /// - The names of components begin with the app's name (`workspace.Error`, `workspaceKey`), and
    ///   those of the server may be used (`#/components/responses/Unavailable`).
    /// - `.ci/openapi` compares the document with the answers of a running server, so a schema
    ///   describes exactly what is accepted, and every status is listed.
    ///
    /// [`Router::undocumented_routes`]: crate::Router::undocumented_routes
    fn openapi(&self) -> Option<&'static str> {
        None
    }

    /// Returns the port of the app's own listener, unless the `latido.toml` names one. With `None`
    /// the app is served on the main listener.
    fn default_port(&self, _reader: &mut SettingsReader<'_>) -> Option<u16> {
        None
    }

    /// Reads the settings and returns the function that starts the app with them. Mistakes are
    /// recorded in the reader; then the app is not started, and all mistakes are reported together.
    fn configure(&self, reader: &mut SettingsReader<'_>, server: &ServerSettings<'_>) -> Starter;
}

impl fmt::Debug for dyn App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("App").field(&self.name()).finish()
    }
}

/// Starts an app on the current runtime. The database may still be unavailable.
///
/// # Errors
/// Returns an error if the app cannot work with its settings on this machine.
pub type Starter = Arc<dyn Fn(&AppDeps) -> anyhow::Result<AppServices> + Send + Sync>;

/// The server's settings that an app may use as defaults for its own.
#[derive(Debug, Clone, Copy)]
pub struct ServerSettings<'a> {
    /// The keys and rules for tokens of the streams.
    pub verifier: &'a VerifierConfig,
    /// The IANA name of the server's time zone.
    pub time_zone: &'a str,
}
