//! Commands that were sent to a device and await its response. Pure.

use std::collections::{HashMap, VecDeque};

use latido_base::ident::UserId;

use crate::dates::Millis;
use crate::registry::ModuleId;

/// The time in which a device must respond, in milliseconds; a later response has no receiver.
pub(super) const ANSWER_MS: Millis = 30_000;
/// The largest number of pending commands of one module.
pub(super) const WAITING: usize = 32;

#[derive(Debug)]
struct Waiting {
    command: String,
    sender: UserId,
    until: Millis,
}

/// All pending commands, bounded by [`MAX_PENDING`] times the number of online modules.
#[derive(Debug, Default)]
pub(super) struct Commands {
    modules: HashMap<ModuleId, VecDeque<Waiting>>,
}

impl Commands {
    /// Returns `true` if one more command may be sent to the module.
    pub(super) fn has_room(&mut self, module: &ModuleId, now: Millis) -> bool {
        self.expire(module, now);
        self.modules
            .get(module)
            .is_none_or(|pending| pending.len() < WAITING)
    }

    /// Adds a command that is on its way to the device.
    pub(super) fn sent(&mut self, module: &ModuleId, command: &str, sender: &UserId, now: Millis) {
        let pending = Waiting {
            command: command.to_owned(),
            sender: sender.clone(),
            until: now + ANSWER_MS,
        };
        self.modules
            .entry(module.clone())
            .or_default()
            .push_back(pending);
    }

    /// Removes the oldest pending command of this name and returns its sender.
    pub(super) fn answered(
        &mut self,
        module: &ModuleId,
        command: &str,
        now: Millis,
    ) -> Option<UserId> {
        self.expire(module, now);
        let pending = self.modules.get_mut(module)?;
        let index = pending
            .iter()
            .position(|pending_command| pending_command.command == command)?;
        let sender = pending
            .remove(index)
            .map(|pending_command| pending_command.sender);
        if pending.is_empty() {
            self.modules.remove(module);
        }
        sender
    }

    /// Forgets the commands of a module that went offline and will not respond.
    pub(super) fn forget(&mut self, module: &ModuleId) {
        self.modules.remove(module);
    }

    fn expire(&mut self, module: &ModuleId, now: Millis) {
        let Some(pending) = self.modules.get_mut(module) else {
            return;
        };
        pending.retain(|pending_command| now < pending_command.until);
        if pending.is_empty() {
            self.modules.remove(module);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_resolves_the_oldest_command_of_its_name() {
        let (mut commands, module): (_, ModuleId) = (Commands::default(), "M1".into());
        let (ana, eva) = (UserId::new("ana"), UserId::new("eva"));
        commands.sent(&module, "left", &ana, 0);
        commands.sent(&module, "left", &eva, 1);
        commands.sent(&module, "stop", &eva, 2);
        assert_eq!(commands.answered(&module, "stop", 3), Some(eva.clone()));
        assert_eq!(commands.answered(&module, "left", 4), Some(ana));
        assert_eq!(commands.answered(&module, "left", 5), Some(eva.clone()));
        assert_eq!(commands.answered(&module, "left", 6), None);
        commands.sent(&module, "left", &eva, 7);
        assert_eq!(
            commands.answered(&"M2".into(), "left", 8),
            None,
            "another module's"
        );
        assert_eq!(
            commands.answered(&module, "left", 7 + ANSWER_MS),
            None,
            "too late"
        );
        assert!(commands.modules.is_empty());
    }

    #[test]
    fn pending_commands_of_a_silent_module_are_bounded() {
        let (mut commands, module): (_, ModuleId) = (Commands::default(), "M1".into());
        for n in 0..WAITING {
            assert!(commands.has_room(&module, 0), "{n}");
            commands.sent(&module, "left", &UserId::new("ana"), 0);
        }
        assert!(!commands.has_room(&module, 0));
        assert!(commands.has_room(&module, ANSWER_MS));
    }
}
