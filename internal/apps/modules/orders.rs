//! What people tell modules to do, and what becomes of it.

use serde_json::{Value, json};

use crate::hub::exchange::Publish;

use crate::apps::modules::dates::{Millis, iso};
use crate::apps::modules::device::frame::Report;
use crate::apps::modules::identity::Person;
use crate::apps::modules::news;
use crate::apps::modules::office::{Office, State};
use crate::apps::modules::registry::Module;
use crate::apps::modules::topics;

/// The name, inside, of what a device is told to do; each dialect writes it in its own words.
pub(super) const COMMAND: &str = "command";

/// Why a command did not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undelivered {
    /// There is none, or it is somebody else's: which of the two is nobody's business.
    Unknown,
    Offline,
    /// It has not answered the last ones.
    Busy,
    /// The server can't take more.
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
    /// Somebody who may say so says what a module answered; whether there is such a module.
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

    /// Sends a command on somebody's behalf, if it is their module or they are an administrator.
    pub(super) fn command(
        &self,
        person: &Person,
        id: &str,
        command: &str,
        params: &Value,
    ) -> Result<Millis, Undelivered> {
        let now = self.now();
        let mut state = self.lock();
        let module = state
            .registry
            .get(id)
            .filter(|module| may_command(person, module))
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
                state.commands.sent(&id, command, &person.user, now)
            }
            Ok(_) => return Err(Undelivered::Offline),
            Err(_) => return Err(Undelivered::Overloaded),
        }
        self.say(news::command_sent(&id, command, &person.user, now));
        Ok(now)
    }

    /// A module answered: whose command that was hears of it.
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

fn may_command(person: &Person, module: &Module) -> bool {
    person.is_admin || module.facts.holder() == Some(&person.user)
}

/// `{moduleId, command, timestamp}`, what a sender is answered.
pub(super) fn sent(id: &str, command: &str, now: Millis) -> Value {
    json!({"moduleId": id, "command": command, "timestamp": iso(now)})
}
