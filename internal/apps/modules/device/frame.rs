//! What a module says, and what it is told. Pure.
//!
//! A password stands in every frame; it is taken out here, before anything else sees the frame.

use serde_json::{Map, Value, json};

use crate::auth::Secret;

use crate::apps::modules::dates::{Millis, iso};
use crate::apps::modules::identity::{id_text, is_id};

/// Longest frame of a module, in bytes.
pub(in crate::apps::modules) const FRAME_BYTES: usize = 16 * 1024;
/// Longest name of a command, in bytes.
pub(in crate::apps::modules) const COMMAND_BYTES: usize = 64;

/// A frame without its credentials.
#[derive(Debug)]
pub(in crate::apps::modules) struct Heard {
    /// Whom it claims to come from.
    pub(in crate::apps::modules) module: Option<String>,
    /// What it claims to prove that with.
    pub(in crate::apps::modules) password: Option<Secret>,
    pub(in crate::apps::modules) report: Report,
}

/// What a module reports.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::apps::modules) enum Report {
    /// Who it is, and what it tells along with that.
    Identify(Map<String, Value>),
    /// What it measures.
    Telemetry(Map<String, Value>),
    /// That it is there.
    Heartbeat,
    /// What became of a command.
    Answer {
        command: String,
        status: String,
        position: Value,
    },
    /// Something that we do not know. It was there, no more.
    Unknown,
}

/// A frame of `/esp32`. None: no JSON object.
pub(in crate::apps::modules) fn read(text: &str) -> Option<Heard> {
    match serde_json::from_str(text).ok()? {
        Value::Object(fields) => Some(sort(None, fields)),
        _ => None,
    }
}

/// An event of the Socket.IO dialects: its name says what the frame's type would.
pub(in crate::apps::modules) fn read_event(event: &str, payload: &Value) -> Heard {
    let fields = match payload {
        Value::Object(fields) => fields.clone(),
        // The oldest identify with the bare name of the module.
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
    sort(Some(kind), fields)
}

fn sort(kind: Option<&str>, mut fields: Map<String, Value>) -> Heard {
    let password = match fields.remove("password") {
        Some(Value::String(password)) => Some(Secret::new(password)),
        _ => None,
    };
    let module = fields
        .remove("moduleId")
        .or_else(|| fields.remove("module_id"))
        .as_ref()
        .and_then(id_text);
    let said = fields.remove("type");
    // In a Socket.IO payload `type` is the type of the module.
    let kind = match kind {
        Some(kind) => {
            said.map(|said| fields.entry("moduleType").or_insert(said));
            kind.to_owned()
        }
        None => said
            .and_then(|said| said.as_str().map(ToOwned::to_owned))
            .unwrap_or_default(),
    };
    fields.remove("timestamp");
    Heard {
        module,
        password,
        report: report(&kind, fields),
    }
}

fn report(kind: &str, fields: Map<String, Value>) -> Report {
    match kind {
        "module_identify" => Report::Identify(fields),
        "telemetry" | "status_response" => Report::Telemetry(nested(fields)),
        "heartbeat" | "pong" => Report::Heartbeat,
        "command_response" => answer(&fields, None, None),
        "reset_response" => answer(&fields, Some("reset"), None),
        "command_error" => answer(&fields, None, Some("error")),
        _ => Report::Unknown,
    }
}

/// Some send their measurements below `telemetry` or `data`.
fn nested(mut fields: Map<String, Value>) -> Map<String, Value> {
    for name in ["telemetry", "data"] {
        if let Some(Value::Object(inner)) = fields.get_mut(name).filter(|inner| inner.is_object()) {
            return std::mem::take(inner);
        }
    }
    fields
}

/// Firmware says `status`, the simulator `success`.
fn answer(fields: &Map<String, Value>, command: Option<&str>, status: Option<&str>) -> Report {
    let command = fields
        .get("command")
        .and_then(Value::as_str)
        .or(command)
        .filter(|command| is_command(command));
    let success = fields
        .get("success")
        .and_then(Value::as_bool)
        .map(|success| if success { "success" } else { "error" });
    let said = fields
        .get("status")
        .and_then(Value::as_str)
        .filter(|said| is_id(said));
    let status = said.or(success).or(status).unwrap_or("success");
    let position = fields.get("position").cloned().unwrap_or(Value::Null);
    match command {
        Some(command) => Report::Answer {
            command: command.to_owned(),
            status: status.to_owned(),
            position,
        },
        None => Report::Unknown,
    }
}

/// Whether a text can be a command's name.
pub(in crate::apps::modules) fn is_command(text: &str) -> bool {
    !text.is_empty() && text.len() <= COMMAND_BYTES && text.chars().all(|c| c.is_ascii_graphic())
}

/// What an identified module is greeted with: firmware waits for the first, the simulator for the second.
pub(in crate::apps::modules) fn greetings(uptime: &Value, position: &Value) -> [Value; 2] {
    let state = json!({"uptime": uptime, "position": position});
    [
        json!({"type": "connected", "status": "authenticated", "message": "Connected", "initialState": &state}),
        json!({"type": "auth_success", "status": "authenticated", "initialState": &state}),
    ]
}

/// A command as `/esp32` has it.
pub(in crate::apps::modules) fn command(
    module: &str,
    command: &str,
    params: &Value,
    now: Millis,
) -> Value {
    json!({"type": "command", "data": {"command": command, "moduleId": module, "params": params}, "timestamp": iso(now)})
}

/// The same as all Socket.IO devices read it: each finds its own shape in it.
pub(in crate::apps::modules) fn command_event(
    module: &str,
    command: &str,
    params: &Value,
    now: Millis,
) -> Value {
    json!({
        "type": "command", "moduleId": module, "command": command, "params": params,
        "payload": {"command": command, "params": params}, "timestamp": iso(now),
    })
}

/// A question that is to be answered with `pong`.
pub(in crate::apps::modules) fn ping(now: Millis) -> Value {
    json!({"type": "ping", "timestamp": now})
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
