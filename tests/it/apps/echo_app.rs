//! A complete app in less than 100 lines, to start from: a setting, a route, a WebSocket that
//! repeats what it receives, and a line of `latido doctor`. `docs/design/apps.md` explains the parts.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use latido_app_kit::{
    App, AppServices, ErrorFormat, RouteRequest, Router, ServerSettings, Starter, public,
};
use latido_base::ident::UserId;
use latido_event_bus::BusEvent;
use latido_http::{AppRequest, AppResponse, HandlerSpec, WebSocketApp};
use latido_postgres::{Database, Finding};
use latido_protocol::Frame;
use latido_settings::{SettingsReader, Variable, variables};
use latido_shard::{Actions, AsyncResult, ClientMessage, ProtocolHandler, Timestamp};
use serde_json::json;

/// The app, as the list of apps names it.
pub(crate) struct Echo;
variables! {
    const VARIABLES;
    "App echo" {
        plain ECHO_WORD "TEXT" = text("echo"), "The word beside each repetition";
    }
}

impl App for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn variables(&self) -> &'static [Variable] {
        VARIABLES
    }

    fn examine<'a>(&'a self, _database: &'a Database) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(async { vec![Finding::ok("echo", "it needs no database")] })
    }

    fn configure(&self, reader: &mut SettingsReader<'_>, _server: &ServerSettings<'_>) -> Starter {
        let word: Arc<str> = reader.text_or_default(&ECHO_WORD).into();
        Arc::new(move |_deps| {
            let router = Router::new(Arc::new(word.clone()), ErrorFormat::default());
            Ok(AppServices {
                http_apps: vec![Arc::new(router.get("/echo", public, respond))],
                websocket_apps: vec![Arc::new(Socket(word.clone()))],
                ..AppServices::default()
            })
        })
    }
}

async fn respond(word: Arc<Arc<str>>, route: RouteRequest<()>) -> AppResponse {
    let body = json!({"word": **word, "text": route.request.query("text")});
    AppResponse::json(200, body.to_string())
}

struct Socket(Arc<str>);
impl WebSocketApp for Socket {
    fn matches(&self, path: &str) -> bool {
        path == "/echo/socket"
    }

    fn upgrade(
        &self,
        _request: AppRequest,
    ) -> BoxFuture<'static, Result<HandlerSpec, AppResponse>> {
        let word = Arc::clone(&self.0);
        Box::pin(async move { Ok(HandlerSpec::new("echo", |_| Box::new(Connection(word)))) })
    }
}

struct Connection(Arc<str>);
impl ProtocolHandler for Connection {
    fn on_message(&mut self, message: ClientMessage<'_>, _: Timestamp, actions: &mut Actions<'_>) {
        if let ClientMessage::Text(text) = message {
            actions.send_text(&json!({"word": &*self.0, "text": text}).to_string());
        }
    }

    fn on_async_result(&mut self, _: AsyncResult, _: Timestamp, _: &mut Actions<'_>) {}

    fn encode(&self, _event: &BusEvent) -> Frame {
        Frame::text("{}")
    }

    fn user(&self) -> Option<&UserId> {
        None
    }
}
