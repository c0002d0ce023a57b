//! Device connections on the raw WebSocket `/esp32`, run by the shards.

use std::sync::Arc;

use latido_base::ident::UserId;
use latido_event_bus::{ConnectionId, EncodingId, BusEvent, Identity};
use latido_protocol::Frame;
use latido_shard::{Actions, AsyncResult, HandlerContext, ProtocolHandler, ClientMessage, Timestamp};

use crate::Modules;
use crate::dates::Millis;
use crate::device::conversation::{Close, Conversation, Effect};
use crate::device::frame::{self, Report};
use crate::office::NEW_SESSION;

/// The only frame encoding of this app on the shards; the id is unique among all apps.
const DIALECT: EncodingId = EncodingId(4);

pub(super) struct Device {
    app: Arc<Modules>,
    /// `None` if the event bus refused the connection, which is then closed.
    conn: Option<ConnectionId>,
    conversation: Conversation,
}

impl Device {
    /// Creates the handler of a connection that has not sent anything yet.
    pub(super) fn new(app: Arc<Modules>, context: &HandlerContext) -> Self {
        let conn = app
            .office
            .exchange
            .connect_on_shard(
                &context.queue,
                DIALECT,
                context.connection_slot,
                Identity::default(),
                &[],
            )
            .ok();
        let session = app.conversation();
        Self {
            app,
            conn,
            conversation: session,
        }
    }

    fn act(&mut self, effect: Option<Effect>, now: Millis, actions: &mut Actions<'_>) {
        match effect {
            None => {}
            Some(Effect::Send(text)) => actions.send_text(&text),
            Some(Effect::Close(close)) => actions.close(close.code(), close.reason()),
            Some(Effect::Check { module, password }) => {
                let app = Arc::clone(&self.app);
                if !actions.spawn(async move { app.check(&module, password).await }) {
                    let effect = self.conversation.judged(Err(()), now);
                    self.act(effect, now, actions);
                }
            }
            Some(Effect::Report(module, report)) => self.report(&module, report, actions),
        }
    }

    fn report(&mut self, module: &str, report: Report, actions: &mut Actions<'_>) {
        let Some(conn) = self.conn else {
            return actions.close(Close::ServerError.code(), Close::ServerError.reason());
        };
        let Report::Identify(fields) = report else {
            return self.app.office.device_said(module, conn, report);
        };
        if !self.app.office.device_came(module, conn, &fields) {
            return actions.close(Close::Failed.code(), Close::Failed.reason());
        }
        for greeting in self.app.greetings(module) {
            actions.send_text(&greeting.to_string());
        }
    }
}

impl ProtocolHandler for Device {
    fn on_message(&mut self, message: ClientMessage<'_>, now: Timestamp, actions: &mut Actions<'_>) {
        let now = now.unix_s * 1000;
        let effect = match message {
            ClientMessage::Text(text) => self.conversation.hear(text, now),
            // Some firmware marks its text frames as binary.
            ClientMessage::Binary(bytes) => self
                .conversation
                .hear(std::str::from_utf8(bytes).unwrap_or_default(), now),
        };
        self.act(effect, now, actions);
    }

    fn on_async_result(&mut self, answer: AsyncResult, now: Timestamp, actions: &mut Actions<'_>) {
        let now = now.unix_s * 1000;
        let result = answer
            .downcast::<Result<bool, ()>>()
            .map_or(Err(()), |result| *result);
        let effect = self.conversation.judged(result, now);
        self.act(effect, now, actions);
    }

    fn on_timer(&mut self, now: Timestamp, actions: &mut Actions<'_>) {
        let now = now.unix_s * 1000;
        let effect = self.conversation.on_time(now);
        self.act(effect, now, actions);
    }

    fn next_timer(&self) -> Option<i64> {
        // Rounds up to the next full second, so that a timer never fires early.
        self.conversation
            .next_time()
            .map(|ms| ms.saturating_add(999) / 1000)
    }

    fn encode(&self, event: &BusEvent) -> Frame {
        let command = event
            .message()
            .and_then(|message| self.app.command(&message.payload));
        let text = command.map(|command| {
            frame::command(
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
            Close::NewSession
        } else {
            Close::Failed
        };
        (close.code(), close.reason())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let Some(conn) = self.conn else { return };
        self.app.office.exchange.disconnect(conn);
        if let Some(module) = self.conversation.module() {
            self.app.office.device_left(module, conn);
        }
    }
}
