//! Parses the requests of web clients. Pure.

use serde_json::{Map, Value};

use latido_auth::Secret;

use crate::device::frame::is_command;
use crate::identity::id_text;
use crate::page::Page;

/// The longest parameters of a command, in bytes of JSON.
const PARAMS_BYTES: usize = 8 * 1024;
/// The longest claim code of a module, in bytes.
const CODE_BYTES: usize = 128;

/// A parsed request of a web client.
#[derive(Debug)]
pub(super) enum Request {
    /// Authenticates the client, with a token or a mere claim.
    Authenticate(Claim),
    /// Changes the shown page; `true` to send its initial events.
    Page(Page, bool),
    /// Sends the initial events of the page again.
    Sync,
    /// Sends the counts of users and modules.
    Stats,
    /// Sends the states of all visible modules, as an event of this name.
    States { reply: &'static str },
    /// Sends a command to a module's device.
    Command {
        module: String,
        command: String,
        params: Value,
    },
    /// Claims a module for the client's user.
    Claim {
        module: String,
        code: Option<Secret>,
    },
}

/// The client's claims about itself. They are compared with the proven identity, never believed.
#[derive(Debug, Default)]
pub(super) struct Claim {
    pub(super) user: Option<String>,
    pub(super) is_admin: bool,
    pub(super) page: Option<Page>,
    /// A token that may prove the identity.
    pub(super) token: Option<Secret>,
}

/// The reason why a request is not valid.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No request has this event name.
    Unknown,
    /// An incomplete command. The error event repeats the module and the command as the client sent
    /// them.
    Command {
        named: Box<(Value, Value)>,
        why: &'static str,
    },
    /// A wrong field; the text is sent to the client.
    Invalid(&'static str),
}

/// Returns `true` if web clients send an event of this name.
pub(super) fn is_request(event: &str) -> bool {
    matches!(
        event,
        "client:authenticate"
            | "client:page:changed"
            | "register_page"
            | "client:sync:request"
            | "request_stats"
            | "request_module_states"
            | "request_state_sync"
            | "send_module_command"
            | "module_command"
            | "module_claim"
    )
}

/// Parses an event of a web client.
pub(super) fn read(event: &str, payload: &Value) -> Result<Request, Refusal> {
    let empty = Map::new();
    let fields = payload.as_object().unwrap_or(&empty);
    match event {
        "client:authenticate" => Ok(Request::Authenticate(claim(fields))),
        "client:page:changed" => page(payload).map(|page| Request::Page(page, true)),
        "register_page" => page(payload).map(|page| Request::Page(page, false)),
        "client:sync:request" => Ok(Request::Sync),
        "request_stats" => Ok(Request::Stats),
        "request_module_states" => Ok(Request::States {
            reply: "module_states_sync",
        }),
        "request_state_sync" => Ok(Request::States {
            reply: "state_sync_response",
        }),
        "send_module_command" | "module_command" => command(fields),
        "module_claim" => {
            let module = fields
                .get("moduleId")
                .and_then(id_text)
                .ok_or(Refusal::Invalid("Module ID required"))?;
            let code = ["code", "moduleCode", "module_code"]
                .iter()
                .find_map(|name| fields.get(*name))
                .and_then(id_text);
            Ok(Request::Claim {
                module,
                code: code
                    .filter(|code| code.len() <= CODE_BYTES)
                    .map(Secret::new),
            })
        }
        _ => Err(Refusal::Unknown),
    }
}

/// Parses `{page}` or the bare page name.
fn page(payload: &Value) -> Result<Page, Refusal> {
    let name = payload
        .as_str()
        .or_else(|| payload.get("page").and_then(Value::as_str));
    name.map(Page::of).ok_or(Refusal::Invalid("Page required"))
}

fn claim(fields: &Map<String, Value>) -> Claim {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    // Older pages send their session id here, which proves nothing; a token has two dots.
    let token = text("token")
        .or_else(|| text("sessionToken"))
        .filter(|token| !token.is_empty());
    Claim {
        user: fields.get("userId").and_then(id_text),
        is_admin: text("userType").or_else(|| text("userRole")) == Some("admin"),
        page: text("page").map(Page::of),
        token: token.map(Secret::new),
    }
}

fn command(fields: &Map<String, Value>) -> Result<Request, Refusal> {
    let field = |name: &str| fields.get(name).cloned().unwrap_or(Value::Null);
    // The echoed values are short, even if the client sent long ones.
    let echo = |value: Value| {
        if value.as_str().is_some_and(|text| text.len() > 200)
            || value.is_array()
            || value.is_object()
        {
            Value::Null
        } else {
            value
        }
    };
    let invalid = |why| Refusal::Command {
        named: Box::new((echo(field("moduleId")), echo(field("command")))),
        why,
    };
    let module = fields
        .get("moduleId")
        .and_then(id_text)
        .ok_or_else(|| invalid("Module ID required"))?;
    let command = fields
        .get("command")
        .and_then(Value::as_str)
        .filter(|text| is_command(text))
        .ok_or_else(|| invalid("Invalid command"))?;
    let params = match fields.get("params") {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(params) => params.clone(),
    };
    if params.to_string().len() > PARAMS_BYTES {
        return Err(invalid("Parameters too long"));
    }
    Ok(Request::Command {
        module,
        command: command.to_owned(),
        params,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_request_of_the_contract_is_parsed() {
        let parsed = |event: &str, payload: Value| format!("{:?}", read(event, &payload));
        assert_eq!(
            parsed("client:page:changed", json!({"page": "modules"})),
            "Ok(Page(Modules, true))"
        );
        assert_eq!(
            parsed("register_page", json!({"page": "somewhere"})),
            "Ok(Page(Other, false))"
        );
        assert_eq!(
            parsed("register_page", json!("admin")),
            "Ok(Page(Admin, false))"
        );
        assert_eq!(parsed("client:sync:request", Value::Null), "Ok(Sync)");
        assert_eq!(parsed("request_stats", Value::Null), "Ok(Stats)");
        assert_eq!(
            parsed("request_module_states", Value::Null),
            r#"Ok(States { reply: "module_states_sync" })"#
        );
        assert_eq!(
            parsed("request_state_sync", json!({})),
            r#"Ok(States { reply: "state_sync_response" })"#
        );
        for event in ["send_module_command", "module_command"] {
            let command = parsed(event, json!({"moduleId": "M1", "command": "left"}));
            assert_eq!(
                command,
                r#"Ok(Command { module: "M1", command: "left", params: Object {} })"#
            );
        }
        let claim = parsed("module_claim", json!({"moduleId": "M1", "code": "s3cret"}));
        assert_eq!(
            claim,
            r#"Ok(Claim { module: "M1", code: Some([redacted]) })"#
        );
    }

    #[test]
    fn identity_fields_of_a_client_are_only_a_claim() {
        let payload = json!({"userId": "7", "userType": "admin", "page": "admin", "sessionId": "x", "userName": "Ana", "token": "a.b.c"});
        let Ok(Request::Authenticate(claim)) = read("client:authenticate", &payload) else {
            panic!("a claim")
        };
        assert_eq!(
            (claim.user.as_deref(), claim.is_admin, claim.page),
            (Some("7"), true, Some(Page::Admin))
        );
        assert_eq!(claim.token.unwrap().expose(), "a.b.c");
        let Ok(Request::Authenticate(claim)) = read("client:authenticate", &json!({"userId": 7}))
        else {
            panic!("a claim")
        };
        assert_eq!((claim.user.as_deref(), claim.is_admin), (Some("7"), false));
    }

    #[test]
    fn invalid_requests_are_rejected_with_a_reason() {
        let why = |event: &str, payload: Value| match read(event, &payload).unwrap_err() {
            Refusal::Command { why, .. } | Refusal::Invalid(why) => why,
            Refusal::Unknown => "unknown",
        };
        assert_eq!(why("register_page", json!({})), "Page required");
        assert_eq!(
            why("module_claim", json!({"moduleId": {}})),
            "Module ID required"
        );
        assert_eq!(
            why("module_command", json!({"command": "left"})),
            "Module ID required"
        );
        assert_eq!(
            why(
                "module_command",
                json!({"moduleId": "M1", "command": "a b"})
            ),
            "Invalid command"
        );
        let long = json!({"moduleId": "M1", "command": "left", "params": {"x": "y".repeat(9_000)}});
        assert_eq!(why("module_command", long), "Parameters too long");
        assert_eq!(why("rm -rf", Value::Null), "unknown");
        let echoed = read(
            "module_command",
            &json!({"moduleId": ["x"], "command": "y".repeat(300)}),
        )
        .unwrap_err();
        assert_eq!(
            echoed,
            Refusal::Command {
                named: Box::default(),
                why: "Module ID required"
            }
        );
    }
}
