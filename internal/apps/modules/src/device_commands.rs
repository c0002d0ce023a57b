//! Sends users' commands to devices, and passes the responses back.

use serde_json::{Value, json};

use latido_event_bus::Publish;

use crate::device::frame::DeviceReport;
use crate::events;
use crate::registry::Module;
use crate::service::{ModuleService, ServiceState};
use crate::time_format::{Millis, to_iso_string};
use crate::topics;
use crate::user::WebUser;

/// The internal event name of a command for a device; each protocol encodes it in its own format.
pub(super) const COMMAND_EVENT: &str = "command";

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

impl ModuleService {
    /// Publishes a device's response on behalf of an authorised caller. Returns `false` if the
    /// module does not exist.
    pub(super) fn on_command_response(&self, id: &str, report: DeviceReport) -> bool {
        let DeviceReport::CommandResponse {
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
        self.resolve_command(&mut state, id, &command, &status, &position, now);
        true
    }

    /// Sends a command on behalf of a user that owns the module or is an administrator.
    pub(super) fn send_command(
        &self,
        user: &WebUser,
        id: &str,
        command: &str,
        params: &Value,
    ) -> Result<Millis, CommandError> {
        let now = self.now();
        let mut state = self.lock();
        let module = state
            .registry
            .get(id)
            .filter(|module| can_command(user, module))
            .ok_or(CommandError::NotFound)?;
        if !module.online {
            return Err(CommandError::Offline);
        }
        let id = module.record.id.clone();
        if !state.pending_commands.has_capacity(&id, now) {
            return Err(CommandError::TooManyPending);
        }
        let payload =
            json!({"moduleId": &*id, "command": command, "params": params, "at": now}).to_string();
        let publish = Publish::new([topics::device(&id)], COMMAND_EVENT, payload);
        match self.event_bus.publish(publish) {
            Ok(published) if published.reached > 0 => {
                state.pending_commands.add(&id, command, &user.id, now)
            }
            Ok(_) => return Err(CommandError::Offline),
            Err(_) => return Err(CommandError::Overloaded),
        }
        self.publish(events::command_sent_events(&id, command, &user.id, now));
        Ok(now)
    }

    /// Publishes a device's response and resolves the pending command, so that its sender receives
    /// it.
    pub(super) fn resolve_command(
        &self,
        state: &mut ServiceState,
        id: &str,
        command: &str,
        status: &str,
        position: &Value,
        now: Millis,
    ) {
        let Some(module) = state.registry.get(id) else {
            return;
        };
        let sender = state
            .pending_commands
            .take_sender(&module.record.id, command, now);
        self.publish([events::command_response_event(
            &module.record,
            sender.as_ref(),
            command,
            status,
            position,
            now,
        )]);
    }
}

fn can_command(user: &WebUser, module: &Module) -> bool {
    user.is_admin || module.record.claimed_owner() == Some(&user.id)
}

/// Returns `{moduleId, command, timestamp}`, the acknowledgement to the sender.
pub(super) fn ack_payload(id: &str, command: &str, now: Millis) -> Value {
    json!({"moduleId": id, "command": command, "timestamp": to_iso_string(now)})
}
