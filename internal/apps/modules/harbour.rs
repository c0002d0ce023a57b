//! The app's addresses as the HTTP side asks for them.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::apps::Parts;
use crate::http::{Answer, Asked, Boarding, Pier, Site};
use crate::session::Limits;

use crate::apps::modules::addresses::{Address, BODY_BYTES, Reply};
use crate::apps::modules::device::frame::FRAME_BYTES;
use crate::apps::modules::guest::Device;
use crate::apps::modules::{Modules, NAME};

/// Where modules come in.
const DEVICES: &str = "/esp32";
/// How often a module's socket is pinged, and after how much silence it is closed: firmware beats every 30 s.
const HEARTBEAT_S: u32 = 30;
const SILENCE_S: u32 = 75;
/// The script changes with the server alone.
const SCRIPT_KEPT: &str = "public, max-age=3600";

pub(super) struct Harbour {
    app: Arc<Modules>,
    limits: Limits,
}

impl Harbour {
    pub(super) fn new(app: Arc<Modules>, parts: &Parts) -> Self {
        let message_bytes = u32::try_from(FRAME_BYTES).unwrap_or(u32::MAX);
        Self {
            app,
            limits: Limits {
                message_bytes,
                heartbeat_s: HEARTBEAT_S,
                silence_s: SILENCE_S,
                ..parts.limits
            },
        }
    }
}

impl Site for Harbour {
    fn has(&self, path: &str) -> bool {
        Address::of(path).is_some()
    }

    fn body_limit(&self) -> usize {
        BODY_BYTES
    }

    fn admit(&self, asked: &Asked) -> Result<(), Answer> {
        let Some(address) = Address::of(asked.path()) else {
            return Ok(());
        };
        let methods = address.methods();
        if !methods.contains(&asked.method()) {
            return Err(
                Answer::json(405, r#"{"success":false,"error":"Method not allowed"}"#)
                    .with("allow", methods.join(", ")),
            );
        }
        // A stranger's body is not even read.
        match self.app.admit(address, |name| asked.header(name)) {
            Some(refusal) => Err(answer(refusal)),
            None => Ok(()),
        }
    }

    fn answer(&self, asked: Asked) -> BoxFuture<'static, Answer> {
        let app = Arc::clone(&self.app);
        Box::pin(async move {
            let Some(address) = Address::of(asked.path()) else {
                return Answer::json(404, "{}");
            };
            answer(
                app.reply(
                    address,
                    asked.token(),
                    |name| asked.header(name),
                    &asked.body,
                )
                .await,
            )
        })
    }
}

fn answer(reply: Reply) -> Answer {
    match reply {
        Reply::Json(status, body) => Answer::json(status, body.to_string()),
        Reply::Script(text) => Answer {
            status: 200,
            headers: Vec::new(),
            body: text.into(),
        }
        .with("content-type", "application/javascript; charset=utf-8")
        .with("cache-control", SCRIPT_KEPT),
    }
}

impl Pier for Harbour {
    fn has(&self, path: &str) -> bool {
        path == DEVICES
    }

    fn board(&self, _asked: Asked) -> BoxFuture<'static, Result<Boarding, Answer>> {
        let (app, limits) = (Arc::clone(&self.app), self.limits);
        // Whoever it is says so in the first frame.
        Box::pin(async move {
            Ok(Boarding::new(NAME, move |berth| Box::new(Device::new(app, &berth))).limits(limits))
        })
    }
}
