//! What a shard needs to serve the connections of a listener.

use std::sync::Arc;

use crate::mount_upgrade::MountUpgrade;
use crate::protocol_handler::InBandUpgrade;
use latido_admission::{Acceptor, PendingConnection, TokenClaim, UpgradeRules};

/// Serves the connections that are not plain WebSocket requests.
pub trait ConnectionHandler: Send + Sync {
    /// Serves a connection over HTTP, given all bytes received so far.
    fn serve_http(self: Arc<Self>, connection: PendingConnection, received: &[u8]);
}

/// A listener's rules and its HTTP server. A shard admits connections with the rules, and hands
/// those that need more to HTTP.
pub struct ListenerContext {
    /// Acquires the permits of accepted connections.
    pub acceptor: Arc<Acceptor>,
    /// Upgrades plain WebSocket requests.
    pub rules: Arc<UpgradeRules>,
    /// Recognises the tokens of an app that extends `/ws`, if there is one.
    pub app_tokens: Option<TokenClaim>,
    /// The in-band upgrade to an app's protocol, if the listener offers one.
    pub in_band_upgrade: Option<Arc<dyn InBandUpgrade>>,
    /// The WebSockets of a mounted service, if the listener has one.
    pub mount: Option<Arc<dyn MountUpgrade>>,
    /// Serves all other connections.
    pub http: Arc<dyn ConnectionHandler>,
}

impl ListenerContext {
    /// Hands a connection to HTTP, given all bytes received so far.
    pub(super) fn serve_http(&self, connection: PendingConnection, received: &[u8]) {
        Arc::clone(&self.http).serve_http(connection, received);
    }
}

impl std::fmt::Debug for ListenerContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListenerContext")
            .field("acceptor", &self.acceptor)
            .finish_non_exhaustive()
    }
}
