//! The rooms gateway of a Django API: clients, providers and administrators join rooms over
//! Socket.IO. HTTP serves a dashboard and the publishers.
//!
//! The namespace selects the client version: `/` is version 1 and `/ws` is version 2. The identity
//! that a client claims is only compared with the profile that the API returns for its token;
//! administrators come from this server's own configuration. Each event is encoded once for both
//! versions and published once to the union of the rooms that it concerns. A client may join its
//! own rooms and the rooms of services and locations. It may publish only the events of its role,
//! with its own id in them.

mod authenticator;
mod circuit_breaker;
mod config;
mod dashboard_views;
mod django_client;
mod event_types;
mod maintenance;
mod minute_counter;
mod publisher_access;
mod rooms;
mod routes;
mod settings;
mod shared;
mod socket;
mod user;
mod wire;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;

use latido_app_kit::{App, AppDeps, AppServices, ServerSettings, Starter};
use latido_settings::{SettingsReader, Variable};

use authenticator::Authenticator;
use config::Config;
use django_client::{DjangoClient, ProfileSource};
use rooms::RoomService;
use shared::GatewayShared;

/// The app's name in settings and metrics.
const NAME: &str = "gateway";

/// The description of the app's addresses.
const OPENAPI: &str = include_str!("openapi.json");

/// The app, as the list of apps names it.
#[derive(Debug)]
pub struct Gateway;

impl App for Gateway {
    fn name(&self) -> &'static str {
        NAME
    }

    fn variables(&self) -> &'static [Variable] {
        settings::VARIABLES
    }

    fn default_port(&self, reader: &mut SettingsReader<'_>) -> Option<u16> {
        Some(settings::read_port(reader))
    }

    fn openapi(&self) -> Option<&'static str> {
        Some(OPENAPI)
    }

    fn configure(&self, reader: &mut SettingsReader<'_>, _: &ServerSettings<'_>) -> Starter {
        let config = Config::from_settings(reader);
        Arc::new(move |deps| start(&config, deps))
    }
}

/// Starts the gateway app and its maintenance task. Fails if the API's address is invalid or the
/// system has no root certificates for it.
fn start(config: &Config, parts: &AppDeps) -> anyhow::Result<AppServices> {
    let api: Option<Arc<dyn ProfileSource>> = match &config.api_url {
        Some(_) | None if config.trusts_clients => {
            tracing::warn!(
                app = NAME,
                "GATEWAY_TRUST_CLIENTS is on: the identity that a client claims is not checked; anybody can read and publish as anybody else"
            );
            None
        }
        url => {
            let url = url.as_deref().context("GATEWAY_API_URL is missing")?;
            Some(Arc::new(DjangoClient::new(
                url,
                config.api_uses_post,
                config.api_timeout,
            )?))
        }
    };
    let is_trusted = |address: IpAddr| config.trusted_networks.contains(address);
    if is_trusted(Ipv4Addr::LOCALHOST.into()) || is_trusted(Ipv6Addr::LOCALHOST.into()) {
        tracing::warn!(
            app = NAME,
            "GATEWAY_TRUSTED_CIDRS lists this machine: every client of a proxy here can publish and read the dashboard without the key"
        );
    }
    let gateway = Arc::new(GatewayShared {
        config: config.clone(),
        api_keys: config.api_key.clone().into_iter().collect(),
        rooms: RoomService::new(&parts.clock),
        authenticator: Authenticator::new(config, api, &parts.clock, &parts.drain),
        clients_changed: AtomicBool::new(false),
    });
    parts
        .drain
        .spawn_until_stop(maintenance::run(Arc::clone(&gateway)));
    Ok(AppServices {
        http_apps: vec![Arc::new(routes::router(Arc::clone(&gateway)))],
        socketio_apps: vec![Arc::new(socket::GatewaySocketIo(gateway))],
        ..AppServices::default()
    })
}
