//! Sends users' commands to devices, and passes the responses back.

use serde_json::{Value, json};

use latido_event_bus::Publish;

use crate::dates::{Millis, iso};
use crate::device::frame::Report;
use crate::identity::Person;
use crate::news;
use crate::office::{Office, State};
use crate::registry::Module;
use crate::topics;

/// The internal event name of a command for a device; each protocol encodes it in its own format.
pub(super) const COMMAND: &str = "command";

/// The reason why a command was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undelivered {
    /// The module does not exist or belongs to another user; the client can't distinguish the two.
    Unknown,
    Offline,
    /// The device has not responded to earlier commands.
    Busy,
    /// The event bus can't accept more events.
    Overloaded,
}

impl Undelivered {
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Unknown => "Module not found or access denied",
            Self::Offline => "Module offline",
            Self::Busy => "Too many commands are waiting for this module",
            Self::Overloaded => "The server is busy; try again",
        }
    }
}

impl Office {
    /// Publishes a device's response on behalf of an authorised caller. Returns `false` if the
    /// module does not exist.
    pub(super) fn answer(&self, id: &str, report: Report) -> bool {
        let Report::Answer {
            command,
            status,
            position,
        } = report
        else {
            return false;
        };
        let now = self.now();
        let mut state = self.lock();
        if state.registry.get(id).is_none() {
            return false;
        }
        self.was_answered(&mut state, id, &command, &status, &position, now);
        true
    }

    /// Sends a command on behalf of a user that owns the module or is an administrator.
    pub(super) fn command(
        &self,
        user: &Person,
        id: &str,
        command: &str,
        params: &Value,
    ) -> Result<Millis, Undelivered> {
        let now = self.now();
        let mut state = self.lock();
        let module = state
            .registry
            .get(id)
            .filter(|module| may_command(user, module))
            .ok_or(Undelivered::Unknown)?;
        if !module.online {
            return Err(Undelivered::Offline);
        }
        let id = module.facts.id.clone();
        if !state.commands.has_room(&id, now) {
            return Err(Undelivered::Busy);
        }
        let payload =
            json!({"moduleId": &*id, "command": command, "params": params, "at": now}).to_string();
        let publish = Publish::new([topics::device(&id)], COMMAND, payload);
        match self.exchange.publish(publish) {
            Ok(published) if published.reached > 0 => {
                state.commands.sent(&id, command, &user.user, now)
            }
            Ok(_) => return Err(Undelivered::Offline),
            Err(_) => return Err(Undelivered::Overloaded),
        }
        self.say(news::command_sent(&id, command, &user.user, now));
        Ok(now)
    }

    /// Publishes a device's response and resolves the pending command, so that its sender receives
    /// it.
    pub(super) fn was_answered(
        &self,
        state: &mut State,
        id: &str,
        command: &str,
        status: &str,
        position: &Value,
        now: Millis,
    ) {
        let Some(module) = state.registry.get(id) else {
            return;
        };
        let sender = state.commands.answered(&module.facts.id, command, now);
        self.say([news::command_response(
            &module.facts,
            sender.as_ref(),
            command,
            status,
            position,
            now,
        )]);
    }
}

fn may_command(user: &Person, module: &Module) -> bool {
    user.is_admin || module.facts.holder() == Some(&user.user)
}

/// Returns `{moduleId, command, timestamp}`, the acknowledgement to the sender.
pub(super) fn sent(id: &str, command: &str, now: Millis) -> Value {
    json!({"moduleId": id, "command": command, "timestamp": iso(now)})
}
