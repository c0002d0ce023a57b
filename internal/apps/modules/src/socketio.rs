//! Socket.IO connections of web pages and of devices with older firmware.

use std::sync::Arc;
use std::time::Duration;

use latido_auth::Secret;
use latido_event_bus::BusEvent;
use latido_socketio::{
    ConnectRequest, Emit, RequestInfo, SocketActions, SocketHandler, SocketIoApp,
};

use crate::app::ModulesApp;
use crate::authenticator::PresentedCredentials;
use crate::client_request;
use crate::client_socket::{ClientSocket, is_device_event};
use crate::device::frame;
use crate::device_commands::{COMMAND_EVENT, DeviceCommand};
use crate::events::aliases;
use crate::topics;
use crate::user::WebUser;

/// The time in which a client must answer a ping; long because slow firmware connects here too.
const PING_TIMEOUT: Duration = Duration::from_secs(60);

/// The app as a Socket.IO application.
pub(super) struct ModulesSocketIo(pub(super) Arc<ModulesApp>);

impl SocketIoApp for ModulesSocketIo {
    fn namespaces(&self) -> &'static [&'static str] {
        &["/"]
    }

    fn handles_event(&self, event: &str) -> bool {
        client_request::is_client_event(event) || is_device_event(event)
    }

    fn ping_timeout(&self) -> Option<Duration> {
        Some(PING_TIMEOUT)
    }

    fn claims_socket(&self, request: &RequestInfo) -> bool {
        let authenticator = &self.0.authenticator;
        authenticator
            .cookie_session(|name| request.header(name))
            .is_some()
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["cookie", "origin", "host"]
    }

    fn allows_engineio_3(&self) -> bool {
        true
    }

    fn on_connect(
        &self,
        socket: &ConnectRequest<'_>,
        actions: &mut SocketActions<'_>,
    ) -> Option<Box<dyn SocketHandler>> {
        let token = ["token", "sessionToken"]
            .iter()
            .find_map(|name| socket.auth.get(*name)?.as_str().map(ToOwned::to_owned));
        let token = token
            .or_else(|| latido_net::query::value(socket.request.query(), "token"))
            .filter(|token| !token.is_empty());
        let credentials = PresentedCredentials {
            token: token.map(Secret::new),
            session: self
                .0
                .authenticator
                .cookie_session(|name| socket.request.header(name)),
            address: socket.request.peer().map(|peer| peer.ip()),
        };
        let known = self.0.authenticator.try_authenticate(&credentials);
        let identity = known.as_ref().map(WebUser::identity).unwrap_or_default();
        let joins = known.as_ref().map(|user| topics::joins_for(user, None));
        let event_bus = &self.0.service.event_bus;
        let conn = actions.connect(event_bus, identity, &joins.unwrap_or_default())?;
        let mut client = ClientSocket::new(Arc::clone(&self.0), credentials.address, conn);
        if let Some(user) = known {
            client.set_user(user, actions);
            self.0.service.on_viewers_changed();
        } else if !credentials.is_empty() {
            client.start_lookup(credentials, actions);
        }
        Some(Box::new(client))
    }

    fn encode(&self, _namespace: &str, event: &BusEvent) -> Vec<Emit> {
        let Some(message) = event.message() else {
            return Vec::new();
        };
        if &*message.name == COMMAND_EVENT {
            let Some(command) = DeviceCommand::parse(&message.payload) else {
                return Vec::new();
            };
            let payload: Arc<str> = frame::command_event(
                &command.module,
                &command.command,
                &command.params,
                command.at,
            )
            .to_string()
            .into();
            return vec![
                Emit::new("command", Arc::clone(&payload)),
                Emit::new("esp_command", payload),
            ];
        }
        let own = Emit::new(Arc::clone(&message.name), Arc::clone(&message.payload));
        let others = aliases(&message.name)
            .iter()
            .map(|name| Emit::new(*name, Arc::clone(&message.payload)));
        std::iter::once(own).chain(others).collect()
    }
}
