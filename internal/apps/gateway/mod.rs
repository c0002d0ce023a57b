//! The rooms gateway of a Django API: clients, providers and administrators in rooms, on Socket.IO; a dashboard and publishers on HTTP.
//!
//! Two generations of clients are served, by namespace: `/` and `/ws`. Whoever a client says it is is only compared with what the API says
//! of its token; administrators are those of our own configuration. Each thing that happens is encoded once for both generations and
//! published once to the union of the rooms that it concerns. A client joins its own rooms, and those of services and places; it says what
//! is its to say, with its own id in it.

mod board;
mod breaker;
mod business;
mod config;
mod django;
mod doorkeeper;
mod hall;
mod minute;
mod site;
mod talk;
mod tend;
mod who;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

use crate::apps::{Parts, Served};

pub use config::{Config, Network};
use django::{Django, Profiles};
use doorkeeper::Doorkeeper;
use hall::Hall;

/// What its parts share.
struct Gateway {
    config: Config,
    hall: Arc<Hall>,
    door: Doorkeeper,
    /// Somebody came since the dashboards were last told. Relaxed: a hint to one task.
    changed: AtomicBool,
}

impl Gateway {
    fn note_change(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }
}

/// Starts it.
///
/// # Errors
/// The API's address is none, or the system has no root certificates for it.
pub fn start(config: &Config, parts: &Parts) -> anyhow::Result<Served> {
    let api: Option<Arc<dyn Profiles>> = match &config.api_url {
        Some(_) | None if config.trusts_clients => {
            tracing::warn!(
                app = "gateway",
                "GATEWAY_TRUST_CLIENTS is on: whoever connects is believed to be whom it says; anybody can read and publish as anybody else"
            );
            None
        }
        url => {
            let url = url.as_deref().context("GATEWAY_API_URL is missing")?;
            Some(Arc::new(Django::new(
                url,
                config.api_posts,
                config.api_timeout,
            )?))
        }
    };
    let gateway = Arc::new(Gateway {
        config: config.clone(),
        hall: Hall::new(&parts.clock),
        door: Doorkeeper::new(config, api, &parts.clock, &parts.drain),
        changed: AtomicBool::new(false),
    });
    parts
        .drain
        .spawn_until_stop(tend::tend(Arc::clone(&gateway)));
    Ok(Served {
        sites: vec![Arc::new(site::Dashboard(Arc::clone(&gateway)))],
        piers: Vec::new(),
        dialects: vec![Arc::new(talk::Gatekeeper(gateway))],
    })
}
