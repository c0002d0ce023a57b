//! Commands that were sent to a device and await its response. Pure.

use std::collections::{HashMap, VecDeque};

use latido_base::ident::UserId;

use crate::registry::ModuleId;
use crate::time_format::Millis;

/// The time in which a device must respond, in milliseconds; a later response has no receiver.
pub(super) const RESPONSE_TIMEOUT_MS: Millis = 30_000;
/// The largest number of pending commands of one module.
pub(super) const MAX_PENDING: usize = 32;

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
