//! Device connections on the raw WebSocket `/esp32`, run by the shards.

use std::net::IpAddr;
use std::sync::Arc;

use latido_base::ident::UserId;
use latido_event_bus::{BusEvent, ConnectionId, EncodingId, Identity};
use latido_protocol::Frame;
use latido_shard::{
    Actions, AsyncResult, ClientMessage, HandlerContext, ProtocolHandler, Timestamp,
};

use crate::app::ModulesApp;
use crate::device::frame::{self, DeviceReport};
use crate::device::session::{DeviceClose, DeviceEffect, DeviceSession, PasswordCheck};
use crate::device_commands::DeviceCommand;
use crate::service::NEW_SESSION;
use crate::time_format::Millis;

/// The only frame encoding of this app on the shards; the id is unique among all apps.
const ENCODING: EncodingId = EncodingId(4);

pub(super) struct DeviceConnection {
    app: Arc<ModulesApp>,
    /// The address of the device, if it is known.
    address: Option<IpAddr>,
    /// `None` if the event bus refused the connection, which is then closed.
    conn: Option<ConnectionId>,
    session: DeviceSession,
}

impl DeviceConnection {
    /// Creates the handler of a connection that has not sent anything yet.
    pub(super) fn new(
        app: Arc<ModulesApp>,
        address: Option<IpAddr>,
        context: &HandlerContext,
    ) -> Self {
        let conn = app
            .service
            .event_bus
            .connect_on_shard(
                &context.queue,
                ENCODING,
                context.connection_slot,
                Identity::default(),
                &[],
            )
            .ok();
        let session = app.new_device_session();
        Self {
            app,
            address,
            conn,
            session,
        }
    }

    fn apply_effect(
        &mut self,
        effect: Option<DeviceEffect>,
        now: Millis,
        actions: &mut Actions<'_>,
    ) {
        match effect {
            None => {}
            Some(DeviceEffect::Send(text)) => actions.send_text(&text),
            Some(DeviceEffect::Close(close)) => actions.close(close.code(), close.reason()),
            Some(DeviceEffect::CheckPassword { module, password }) => {
                let (app, address) = (Arc::clone(&self.app), self.address);
                let check = async move { app.verify_password(address, &module, password).await };
                if !actions.spawn(check) {
                    let effect = self.session.on_auth_result(PasswordCheck::Unavailable, now);
                    self.apply_effect(effect, now, actions);
                }
            }
            Some(DeviceEffect::Report(module, report)) => self.on_report(&module, report, actions),
        }
    }

    fn on_report(&mut self, module: &str, report: DeviceReport, actions: &mut Actions<'_>) {
        let Some(conn) = self.conn else {
            return actions.close(
                DeviceClose::ServerError.code(),
                DeviceClose::ServerError.reason(),
            );
        };
        let DeviceReport::Identify(fields) = report else {
            return self.app.service.on_device_report(module, conn, report);
        };
        if !self.app.service.on_device_connected(module, conn, &fields) {
            return actions.close(
                DeviceClose::AuthFailed.code(),
                DeviceClose::AuthFailed.reason(),
            );
        }
        for greeting in self.app.connected_messages(module) {
            actions.send_text(&greeting.to_string());
        }
    }
}

impl ProtocolHandler for DeviceConnection {
    fn on_message(
        &mut self,
        message: ClientMessage<'_>,
        now: Timestamp,
        actions: &mut Actions<'_>,
    ) {
        let now = now.unix_s * 1000;
        let effect = match message {
            ClientMessage::Text(text) => self.session.on_text(text, now),
            // Some firmware marks its text frames as binary.
            ClientMessage::Binary(bytes) => self
                .session
                .on_text(std::str::from_utf8(bytes).unwrap_or_default(), now),
        };
        self.apply_effect(effect, now, actions);
    }

    fn on_async_result(&mut self, answer: AsyncResult, now: Timestamp, actions: &mut Actions<'_>) {
        let now = now.unix_s * 1000;
        let result = answer
            .downcast::<PasswordCheck>()
            .map_or(PasswordCheck::Unavailable, |result| *result);
        let effect = self.session.on_auth_result(result, now);
        self.apply_effect(effect, now, actions);
    }

    fn on_timer(&mut self, now: Timestamp, actions: &mut Actions<'_>) {
        let now = now.unix_s * 1000;
        let effect = self.session.on_timer(now);
        self.apply_effect(effect, now, actions);
    }

    fn next_timer(&self) -> Option<i64> {
        // Rounds up to the next full second, so that a timer never fires early.
        self.session
            .next_timer()
            .map(|ms| ms.saturating_add(999) / 1000)
    }

    fn encode(&self, event: &BusEvent) -> Frame {
        let command = event
            .message()
            .and_then(|message| DeviceCommand::parse(&message.payload));
        let text = command.map(|command| {
            frame::command_frame(
                &command.module,
                &command.command,
                &command.params,
                command.at,
            )
            .to_string()
        });
        Frame::text(text.as_deref().unwrap_or("{}"))
    }

    fn user(&self) -> Option<&UserId> {
        None
    }

    fn close_reason(&self, why: &'static str) -> (u16, &'static str) {
        let close = if why == NEW_SESSION {
            DeviceClose::NewSession
        } else {
            DeviceClose::AuthFailed
        };
        (close.code(), close.reason())
    }
}

impl Drop for DeviceConnection {
    fn drop(&mut self) {
        let Some(conn) = self.conn else { return };
        self.app.service.event_bus.disconnect(conn);
        if let Some(module) = self.session.module() {
            self.app.service.on_device_disconnected(module, conn);
        }
    }
}
