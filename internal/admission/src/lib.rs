//! Admission: which connections a server accepts, and which requests become WebSockets.
//!
//! These rules lie below the shards and below HTTP, because both apply them. A shard that accepts a
//! connection calls [`Acceptor`] and, with the first bytes of the request, [`UpgradeRules`]; HTTP
//! calls the same for all other requests. Nothing here waits, and nothing here knows a route.

mod acceptor;
mod config;
mod connection_limits;
mod fast_upgrade;
mod headers;
mod json_error;
mod overload_response;
mod permit_set;
mod request_head;
mod socket_options;
mod trusted_proxies;
mod upgrade_rules;

pub use acceptor::{Acceptor, PendingConnection};
pub use config::{Config, REQUESTS_PER_USER};
pub use connection_limits::{ConnectionLimits, LimitExceeded, UserLimitReached};
pub use fast_upgrade::{AcceptedUpgrade, PlainRequest, WS_PATH, write_head};
pub use headers::{allows_page, joined_header};
pub use json_error::json_error;
pub use permit_set::PermitSet;
pub use request_head::{MethodNotAllowed, RequestHead, request_token};
pub use socket_options::{SEND_BUFFER_BYTES, set_socket_options};
pub use trusted_proxies::TrustedProxies;
pub use upgrade_rules::{
    TokenClaim, UpgradeRejection, UpgradeRules, handshake_response, plain_handshake_response,
};
