//! `/esp32`: modules on a raw WebSocket, as guests of the shards.

use std::sync::Arc;

use crate::hub::exchange::{ConnId, Dialect, Event, Identity};
use crate::ident::UserId;
use crate::protocol::Frame;
use crate::shard::{Acts, Answered, Berth, Guest, Heard, Now};

use crate::apps::modules::Modules;
use crate::apps::modules::dates::Millis;
use crate::apps::modules::device::conversation::{Close, Conversation, Effect};
use crate::apps::modules::device::frame::{self, Report};
use crate::apps::modules::office::NEW_SESSION;

/// The only dialect of this app on the shards.
const DIALECT: Dialect = Dialect(4);

pub(super) struct Device {
    app: Arc<Modules>,
    /// None: the exchange had no place for it, and it is to go.
    conn: Option<ConnId>,
    conversation: Conversation,
}

impl Device {
    /// A connection that has said nothing yet.
    pub(super) fn new(app: Arc<Modules>, berth: &Berth) -> Self {
        let conn = app
            .office
            .exchange
            .attach(
                &berth.port,
                DIALECT,
                berth.address,
                Identity::default(),
                &[],
            )
            .ok();
        let conversation = app.conversation();
        Self {
            app,
            conn,
            conversation,
        }
    }

    fn act(&mut self, effect: Option<Effect>, now: Millis, acts: &mut Acts<'_>) {
        match effect {
            None => {}
            Some(Effect::Send(text)) => acts.say(&text),
            Some(Effect::Close(close)) => acts.close(close.code(), close.reason()),
            Some(Effect::Check { module, password }) => {
                let app = Arc::clone(&self.app);
                if !acts.ask(async move { app.check(&module, password).await }) {
                    let effect = self.conversation.judged(Err(()), now);
                    self.act(effect, now, acts);
                }
            }
            Some(Effect::Report(module, report)) => self.report(&module, report, acts),
        }
    }

    fn report(&mut self, module: &str, report: Report, acts: &mut Acts<'_>) {
        let Some(conn) = self.conn else {
            return acts.close(Close::ServerError.code(), Close::ServerError.reason());
        };
        let Report::Identify(fields) = report else {
            return self.app.office.device_said(module, conn, report);
        };
        if !self.app.office.device_came(module, conn, &fields) {
            return acts.close(Close::Failed.code(), Close::Failed.reason());
        }
        for greeting in self.app.greetings(module) {
            acts.say(&greeting.to_string());
        }
    }
}

impl Guest for Device {
    fn hear(&mut self, heard: Heard<'_>, now: Now, acts: &mut Acts<'_>) {
        let now = now.unix_s * 1000;
        let effect = match heard {
            Heard::Text(text) => self.conversation.hear(text, now),
            // Some firmware marks its text as binary.
            Heard::Binary(bytes) => self
                .conversation
                .hear(std::str::from_utf8(bytes).unwrap_or_default(), now),
        };
        self.act(effect, now, acts);
    }

    fn answered(&mut self, answer: Answered, now: Now, acts: &mut Acts<'_>) {
        let now = now.unix_s * 1000;
        let verdict = answer
            .downcast::<Result<bool, ()>>()
            .map_or(Err(()), |verdict| *verdict);
        let effect = self.conversation.judged(verdict, now);
        self.act(effect, now, acts);
    }

    fn on_time(&mut self, now: Now, acts: &mut Acts<'_>) {
        let now = now.unix_s * 1000;
        let effect = self.conversation.on_time(now);
        self.act(effect, now, acts);
    }

    fn next_time(&self) -> Option<i64> {
        // Up to the next whole second: a deadline is never early.
        self.conversation
            .next_time()
            .map(|ms| ms.saturating_add(999) / 1000)
    }

    fn encode(&self, event: &Event) -> Frame {
        let told = event
            .message()
            .and_then(|message| self.app.command(&message.payload));
        let text = told.map(|told| {
            frame::command(&told.module, &told.command, &told.params, told.at).to_string()
        });
        Frame::text(text.as_deref().unwrap_or("{}"))
    }

    fn user(&self) -> Option<&UserId> {
        None
    }

    fn farewell(&self, why: &'static str) -> (u16, &'static str) {
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
