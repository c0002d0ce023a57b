//! Parses frames of devices, and builds the frames for them. Pure.
//!
//! Every frame of a device contains its password. It is removed here, before any other code sees
//! the frame.

use serde_json::{Map, Value, json};

use latido_auth::Secret;

use crate::time_format::{Millis, to_iso_string};
use crate::user::{is_valid_id, parse_id};

/// The longest frame of a device, in bytes.
pub(crate) const MAX_FRAME_BYTES: usize = 16 * 1024;
/// The longest name of a command, in bytes.
pub(crate) const MAX_COMMAND_BYTES: usize = 64;

/// A parsed frame, with its credentials apart from the report.
#[derive(Debug)]
pub(crate) struct DeviceMessage {
    /// The module that the frame claims to come from.
    pub(crate) module: Option<String>,
    /// The password that should prove the claim.
    pub(crate) password: Option<Secret>,
    pub(crate) report: DeviceReport,
}

/// The report in a device's frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DeviceReport {
    /// The device identifies itself, with initial fields.
    Identify(Map<String, Value>),
    /// New telemetry of the device.
    Telemetry(Map<String, Value>),
    /// A sign of life without data.
    Heartbeat,
    /// The response to a command.
    CommandResponse {
        command: String,
        status: String,
        position: Value,
    },
    /// An unknown type. It only counts as a sign of life.
    Unknown,
}

/// Parses a frame of `/esp32`. Returns `None` if it is not a JSON object.
pub(crate) fn parse(text: &str) -> Option<DeviceMessage> {
    match serde_json::from_str(text).ok()? {
        Value::Object(fields) => Some(split_credentials(None, fields)),
        _ => None,
    }
}

/// Parses an event of the Socket.IO protocols. The event's name corresponds to the frame's `type`.
pub(crate) fn parse_event(event: &str, payload: &Value) -> DeviceMessage {
    let fields = match payload {
        Value::Object(fields) => fields.clone(),
        // The oldest firmware identifies itself with the bare module id.
        Value::String(module) => {
            Map::from_iter([("moduleId".to_owned(), Value::from(module.as_str()))])
        }
        _ => Map::new(),
    };
    let kind = match event {
        "module_identify" | "esp_register" => "module_identify",
        "telemetry" | "esp_telemetry" | "module_telemetry" => "telemetry",
        "heartbeat" | "esp_heartbeat" => "heartbeat",
        "command_response" | "esp_ack" => "command_response",
        other => other,
    };
    split_credentials(Some(kind), fields)
}

fn split_credentials(kind: Option<&str>, mut fields: Map<String, Value>) -> DeviceMessage {
    let password = match fields.remove("password") {
        Some(Value::String(password)) => Some(Secret::new(password)),
        _ => None,
    };
    let module = fields
        .remove("moduleId")
        .or_else(|| fields.remove("module_id"))
        .as_ref()
        .and_then(parse_id);
    let type_field = fields.remove("type");
    // In a Socket.IO payload, `type` is the type of the module, not of the frame.
    let kind = match kind {
        Some(kind) => {
            type_field.map(|type_field| fields.entry("moduleType").or_insert(type_field));
            kind.to_owned()
        }
        None => type_field
            .and_then(|type_field| type_field.as_str().map(ToOwned::to_owned))
            .unwrap_or_default(),
    };
    fields.remove("timestamp");
    DeviceMessage {
        module,
        password,
        report: parse_report(&kind, fields),
    }
}

fn parse_report(kind: &str, fields: Map<String, Value>) -> DeviceReport {
    match kind {
        "module_identify" => DeviceReport::Identify(fields),
        "telemetry" | "status_response" => DeviceReport::Telemetry(unwrap_nested(fields)),
        "heartbeat" | "pong" => DeviceReport::Heartbeat,
        "command_response" => parse_command_response(&fields, None, None),
        "reset_response" => parse_command_response(&fields, Some("reset"), None),
        "command_error" => parse_command_response(&fields, None, Some("error")),
        _ => DeviceReport::Unknown,
    }
}

/// Returns the telemetry fields, which some devices nest below `telemetry` or `data`.
fn unwrap_nested(mut fields: Map<String, Value>) -> Map<String, Value> {
    for name in ["telemetry", "data"] {
        if let Some(Value::Object(inner)) = fields.get_mut(name).filter(|inner| inner.is_object()) {
            return std::mem::take(inner);
        }
    }
    fields
}

/// Parses a response to a command. Firmware sends `status`, the simulator `success`.
fn parse_command_response(
    fields: &Map<String, Value>,
    command: Option<&str>,
    status: Option<&str>,
) -> DeviceReport {
    let command = fields
        .get("command")
        .and_then(Value::as_str)
        .or(command)
        .filter(|command| is_valid_command(command));
    let success = fields
        .get("success")
        .and_then(Value::as_bool)
        .map(|success| if success { "success" } else { "error" });
    let status_field = fields
        .get("status")
        .and_then(Value::as_str)
        .filter(|status_field| is_valid_id(status_field));
    let status = status_field.or(success).or(status).unwrap_or("success");
    let position = fields.get("position").cloned().unwrap_or(Value::Null);
    match command {
        Some(command) => DeviceReport::CommandResponse {
            command: command.to_owned(),
            status: status.to_owned(),
            position,
        },
        None => DeviceReport::Unknown,
    }
}

/// Returns `true` if a text is valid as a command's name.
pub(crate) fn is_valid_command(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_COMMAND_BYTES
        && text.chars().all(|c| c.is_ascii_graphic())
}

/// Returns the first two messages for an authenticated device: firmware waits for the first, the
/// simulator for the second.
pub(crate) fn connected_messages(uptime: &Value, position: &Value) -> [Value; 2] {
    let state = json!({"uptime": uptime, "position": position});
    [
        json!({"type": "connected", "status": "authenticated", "message": "Connected", "initialState": &state}),
        json!({"type": "auth_success", "status": "authenticated", "initialState": &state}),
    ]
}

/// Returns a command as a frame for `/esp32`.
pub(crate) fn command_frame(module: &str, command: &str, params: &Value, now: Millis) -> Value {
    json!({"type": "command", "data": {"command": command, "moduleId": module, "params": params}, "timestamp": to_iso_string(now)})
}

/// Returns a command as a Socket.IO event, with the fields of all device versions.
pub(crate) fn command_event(module: &str, command: &str, params: &Value, now: Millis) -> Value {
    json!({
        "type": "command", "moduleId": module, "command": command, "params": params,
        "payload": {"command": command, "params": params}, "timestamp": to_iso_string(now),
    })
}

/// Returns a ping, which the device answers with `pong`.
pub(crate) fn ping_frame(now: Millis) -> Value {
    json!({"type": "ping", "timestamp": now})
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
