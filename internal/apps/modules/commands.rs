//! Commands that a module has been told and has not answered yet. Pure.

use std::collections::{HashMap, VecDeque};

use crate::ident::UserId;

use crate::apps::modules::dates::Millis;
use crate::apps::modules::registry::ModuleId;

/// How long a module has to answer a command; what comes later answers nobody.
pub(super) const ANSWER_MS: Millis = 30_000;
/// Unanswered commands of one module.
pub(super) const WAITING: usize = 32;

#[derive(Debug)]
struct Waiting {
    command: String,
    sender: UserId,
    until: Millis,
}

/// See the module's documentation. Bounded by [`WAITING`] times the modules that are online.
#[derive(Debug, Default)]
pub(super) struct Commands {
    modules: HashMap<ModuleId, VecDeque<Waiting>>,
}

impl Commands {
    /// Whether one more may be sent to a module.
    pub(super) fn has_room(&mut self, module: &ModuleId, now: Millis) -> bool {
        self.expire(module, now);
        self.modules
            .get(module)
            .is_none_or(|waiting| waiting.len() < WAITING)
    }

    /// One is on its way.
    pub(super) fn sent(&mut self, module: &ModuleId, command: &str, sender: &UserId, now: Millis) {
        let waiting = Waiting {
            command: command.to_owned(),
            sender: sender.clone(),
            until: now + ANSWER_MS,
        };
        self.modules
            .entry(module.clone())
            .or_default()
            .push_back(waiting);
    }

    /// Whose command that answers: the oldest of that name.
    pub(super) fn answered(
        &mut self,
        module: &ModuleId,
        command: &str,
        now: Millis,
    ) -> Option<UserId> {
        self.expire(module, now);
        let waiting = self.modules.get_mut(module)?;
        let place = waiting.iter().position(|one| one.command == command)?;
        let sender = waiting.remove(place).map(|one| one.sender);
        if waiting.is_empty() {
            self.modules.remove(module);
        }
        sender
    }

    /// The module is gone: nobody will answer.
    pub(super) fn forget(&mut self, module: &ModuleId) {
        self.modules.remove(module);
    }

    fn expire(&mut self, module: &ModuleId, now: Millis) {
        let Some(waiting) = self.modules.get_mut(module) else {
            return;
        };
        waiting.retain(|one| now < one.until);
        if waiting.is_empty() {
            self.modules.remove(module);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_finds_its_sender() {
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
    fn a_silent_module_holds_a_bounded_number() {
        let (mut commands, module): (_, ModuleId) = (Commands::default(), "M1".into());
        for n in 0..WAITING {
            assert!(commands.has_room(&module, 0), "{n}");
            commands.sent(&module, "left", &UserId::new("ana"), 0);
        }
        assert!(!commands.has_room(&module, 0));
        assert!(commands.has_room(&module, ANSWER_MS));
    }
}
