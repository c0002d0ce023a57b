//! The emit API: publishes events on behalf of a server. Each call corresponds to a method that
//! older servers called in their own process. Pure.
//!
//! Calls about a module's presence or telemetry change its known state. Calls about a module's row
//! are hints only: the row is read and its real changes are published. A caller that writes the row
//! and then calls therefore causes no duplicate events.

use serde_json::Value;

use crate::emit_call::{EmitArguments, EmitCall, EmitError};
use crate::emit_methods as methods;
use crate::time_format::Millis;

/// A method of the emit API.
pub(super) struct EmitMethod {
    /// The names in the path: the document's, and then another one of this API.
    pub(super) names: &'static [&'static str],
    /// The names of the arguments, in the order of an array.
    pub(super) arguments: &'static [&'static str],
    parse: fn(&EmitArguments, Millis) -> Result<EmitCall, EmitError>,
}

const fn method(
    names: &'static [&'static str],
    arguments: &'static [&'static str],
    parse: fn(&EmitArguments, Millis) -> Result<EmitCall, EmitError>,
) -> EmitMethod {
    EmitMethod {
        names,
        arguments,
        parse,
    }
}

/// All methods.
pub(super) const METHODS: [EmitMethod; 24] = [
    method(
        &["emitModuleOnline"],
        &["moduleId", "moduleInfo"],
        methods::module_online,
    ),
    method(
        &["emitModuleOffline"],
        &["moduleId", "moduleInfo"],
        methods::module_offline,
    ),
    method(
        &["emitModuleLastSeenUpdated"],
        &["moduleId"],
        methods::module_last_seen,
    ),
    method(
        &["emitModuleAdded"],
        &["module", "data"],
        methods::module_row,
    ),
    method(
        &["emitModuleRemoved"],
        &["module", "data"],
        methods::module_row,
    ),
    method(
        &["emitModuleUpdated"],
        &["module", "data"],
        methods::module_row,
    ),
    method(
        &["emitTelemetryUpdate", "emitTelemetryUpdated"],
        &["moduleId", "telemetry"],
        methods::telemetry,
    ),
    method(
        &["emitCommandSent"],
        &["moduleId", "command", "userId"],
        methods::command_sent,
    ),
    method(
        &["emitCommandResponse"],
        &["moduleId", "command", "status", "position"],
        methods::command_response,
    ),
    method(
        &["emitUserLoggedIn"],
        &["user", "data"],
        methods::user_logged_in,
    ),
    method(
        &["emitUserLoggedOut"],
        &["user", "data"],
        methods::user_logged_out,
    ),
    method(
        &["emitUserSessionNew"],
        &["userId", "message"],
        methods::user_session_new,
    ),
    method(
        &["emitUserWelcome"],
        &["user", "message"],
        methods::user_welcome,
    ),
    method(&["emitUserRegistered"], &["user"], methods::user_registered),
    method(
        &["emitUserProfileUpdated"],
        &["user", "newData"],
        methods::user_profile_updated,
    ),
    method(
        &["emitUserPasswordChanged"],
        &["userId", "message"],
        methods::user_password_changed,
    ),
    method(
        &["emitUserActivity"],
        &["userId", "activity", "details"],
        methods::user_activity,
    ),
    method(
        &["emitStatsUpdate", "emitGlobalStats"],
        &[],
        methods::global_stats,
    ),
    method(
        &["emitAdminAction"],
        &["adminUserId", "action", "details"],
        methods::admin_action,
    ),
    method(
        &["emitUserListChanged", "emitUsersListChanged"],
        &["changeType", "user"],
        methods::users_list_changed,
    ),
    method(
        &["emitModuleListChanged", "emitModulesListChanged"],
        &["changeType", "module"],
        methods::modules_list_changed,
    ),
    method(
        &["emitMaintenanceMode", "emitSystemMaintenance"],
        &["inMaintenance", "reason", "adminUserId"],
        methods::system_maintenance,
    ),
    method(
        &["emitSystemAlert"],
        &["level", "message", "details"],
        methods::system_alert,
    ),
    method(
        &["emitServerPerformance", "emitPerformance"],
        &["performance"],
        methods::performance,
    ),
];

/// Parses a call and its arguments.
///
/// # Errors
/// Returns an [`EmitError`] if there is no such method or an argument is missing or invalid.
pub(super) fn parse(method: &str, body: Value, now: Millis) -> Result<EmitCall, EmitError> {
    let method = METHODS
        .iter()
        .find(|known| known.names.contains(&method))
        .ok_or(EmitError::UnknownMethod)?;
    (method.parse)(&EmitArguments::new(method.arguments, body), now)
}

#[cfg(test)]
#[path = "emit_api_tests.rs"]
mod tests;
