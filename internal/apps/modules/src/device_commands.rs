//! Commands of users to devices: on their way, and those that await a response. Pure.

use std::collections::{HashMap, VecDeque};

use serde::Deserialize;
use serde_json::{Value, json};

use latido_base::ident::UserId;

use crate::registry::{Module, ModuleId};
use crate::time_format::{Millis, to_iso_string};
use crate::user::WebUser;

/// The internal event name of a command for a device; each protocol encodes it in its own format.
pub(super) const COMMAND_EVENT: &str = "command";
/// The time in which a device must respond, in milliseconds; a later response has no receiver.
pub(super) const RESPONSE_TIMEOUT_MS: Millis = 30_000;
/// The largest number of pending commands of one module.
pub(super) const MAX_PENDING: usize = 32;

/// A command on its way to a device.
#[derive(Debug, Deserialize)]
pub(super) struct DeviceCommand {
    #[serde(rename = "moduleId")]
    pub(super) module: String,
    pub(super) command: String,
    pub(super) params: Value,
    pub(super) at: Millis,
}

impl DeviceCommand {
    /// Parses the payload of a [`COMMAND_EVENT`].
    pub(super) fn parse(payload: &str) -> Option<Self> {
        serde_json::from_str(payload).ok()
    }
}

/// The reason why a command was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommandError {
    /// The module does not exist or belongs to another user; the client can't distinguish the two.
    NotFound,
    Offline,
    /// The device has not responded to earlier commands.
    TooManyPending,
    /// The event bus can't accept more events.
    Overloaded,
}

impl CommandError {
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::NotFound => "Module not found or access denied",
            Self::Offline => "Module offline",
            Self::TooManyPending => "Too many commands are waiting for this module",
            Self::Overloaded => "The server is busy; try again",
        }
    }
}

/// Returns `true` if the user owns the module or is an administrator.
pub(super) fn can_command(user: &WebUser, module: &Module) -> bool {
    user.is_admin || module.record.claimed_owner() == Some(&user.id)
}

/// Returns `{moduleId, command, timestamp}`, the acknowledgement to the sender.
pub(super) fn ack_payload(id: &str, command: &str, now: Millis) -> Value {
    json!({"moduleId": id, "command": command, "timestamp": to_iso_string(now)})
}

#[derive(Debug)]
struct PendingCommand {
    command: String,
    sender: UserId,
    expires_at: Millis,
}

/// All pending commands, bounded by [`MAX_PENDING`] times the number of online modules.
#[derive(Debug, Default)]
pub(super) struct PendingCommands {
    by_module: HashMap<ModuleId, VecDeque<PendingCommand>>,
}

impl PendingCommands {
    /// Returns `true` if one more command may be sent to the module.
    pub(super) fn has_capacity(&mut self, module: &ModuleId, now: Millis) -> bool {
        self.expire(module, now);
        self.by_module
            .get(module)
            .is_none_or(|pending| pending.len() < MAX_PENDING)
    }

    /// Adds a command that is on its way to the device.
    pub(super) fn add(&mut self, module: &ModuleId, command: &str, sender: &UserId, now: Millis) {
        let pending = PendingCommand {
            command: command.to_owned(),
            sender: sender.clone(),
            expires_at: now + RESPONSE_TIMEOUT_MS,
        };
        self.by_module
            .entry(module.clone())
            .or_default()
            .push_back(pending);
    }

    /// Removes the oldest pending command of this name and returns its sender.
    pub(super) fn take_sender(
        &mut self,
        module: &ModuleId,
        command: &str,
        now: Millis,
    ) -> Option<UserId> {
        self.expire(module, now);
        let pending = self.by_module.get_mut(module)?;
        let index = pending
            .iter()
            .position(|pending_command| pending_command.command == command)?;
        let sender = pending
            .remove(index)
            .map(|pending_command| pending_command.sender);
        if pending.is_empty() {
            self.by_module.remove(module);
        }
        sender
    }

    /// Forgets the commands of a module that went offline and will not respond.
    pub(super) fn remove_module(&mut self, module: &ModuleId) {
        self.by_module.remove(module);
    }

    fn expire(&mut self, module: &ModuleId, now: Millis) {
        let Some(pending) = self.by_module.get_mut(module) else {
            return;
        };
        pending.retain(|pending_command| now < pending_command.expires_at);
        if pending.is_empty() {
            self.by_module.remove(module);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_resolves_the_oldest_command_of_its_name() {
        let (mut commands, module): (_, ModuleId) = (PendingCommands::default(), "M1".into());
        let (ana, eva) = (UserId::new("ana"), UserId::new("eva"));
        commands.add(&module, "left", &ana, 0);
        commands.add(&module, "left", &eva, 1);
        commands.add(&module, "stop", &eva, 2);
        assert_eq!(commands.take_sender(&module, "stop", 3), Some(eva.clone()));
        assert_eq!(commands.take_sender(&module, "left", 4), Some(ana));
        assert_eq!(commands.take_sender(&module, "left", 5), Some(eva.clone()));
        assert_eq!(commands.take_sender(&module, "left", 6), None);
        commands.add(&module, "left", &eva, 7);
        assert_eq!(
            commands.take_sender(&"M2".into(), "left", 8),
            None,
            "another module's"
        );
        assert_eq!(
            commands.take_sender(&module, "left", 7 + RESPONSE_TIMEOUT_MS),
            None,
            "too late"
        );
        assert!(commands.by_module.is_empty());
    }

    #[test]
    fn pending_commands_of_a_silent_module_are_bounded() {
        let (mut commands, module): (_, ModuleId) = (PendingCommands::default(), "M1".into());
        for n in 0..MAX_PENDING {
            assert!(commands.has_capacity(&module, 0), "{n}");
            commands.add(&module, "left", &UserId::new("ana"), 0);
        }
        assert!(!commands.has_capacity(&module, 0));
        assert!(commands.has_capacity(&module, RESPONSE_TIMEOUT_MS));
    }
}
