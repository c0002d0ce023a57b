//! What an app is made of. An app serves another system beside the streams, mostly an older one
//! whose clients stay as they are; `docs/design/apps.md` explains how to write one.
//!
//! [`App`] is the interface to the server. An app knows its event bus, its protocol handlers and its
//! routes ([`latido_http::HttpApp`], [`latido_http::WebSocketApp`]). The server knows no app except
//! in its list of apps.

mod api_keys;
mod app;
mod app_list;
#[cfg(feature = "socketio")]
mod client_files;
mod ids;
mod json_error;
mod notifications;
mod route_pattern;
mod router;
mod services;

pub use app::{App, ServerSettings, Starter};
pub use app_list::{AppError, AppList};
pub use notifications::{Notification, NotificationHandler};
pub use services::{AppDeps, AppServices};

pub use api_keys::{ApiKeys, KeyListError, PresentedKey};
pub use ids::{id_text, is_id};
pub use json_error::ErrorFormat;
pub use latido_postgres::AppSchema;
pub use route_pattern::{ParseParam, PathParams, decode_segment};
pub use router::{RouteRequest, Router, public};
