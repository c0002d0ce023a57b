//! Parses the requests of web clients. Pure.

use serde_json::{Map, Value};

use latido_auth::Secret;

use crate::device::frame::is_valid_command;
use crate::page::WebPage;
use crate::user::parse_id;

/// The longest parameters of a command, in bytes of JSON.
const MAX_PARAMS_BYTES: usize = 8 * 1024;
/// The longest claim code of a module, in bytes.
const MAX_CODE_BYTES: usize = 128;

/// A parsed request of a web client.
#[derive(Debug)]
pub(super) enum ClientRequest {
    /// Authenticates the client, with a token or a mere claim.
    Authenticate(ClientClaim),
    /// Changes the shown page; `true` to send its initial events.
    Page(WebPage, bool),
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
#[derive(Debug, Clone, Default)]
pub(super) struct ClientClaim {
    pub(super) user: Option<String>,
    pub(super) is_admin: bool,
    pub(super) page: Option<WebPage>,
    /// A token that may prove the identity.
    pub(super) token: Option<Secret>,
}

/// The reason why a request is not valid.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RequestError {
    /// No request has this event name.
    UnknownEvent,
    /// An incomplete command. The error event repeats the module and the command as the client sent
    /// them.
    InvalidCommand {
        target: Box<(Value, Value)>,
        reason: &'static str,
    },
    /// A wrong field; the text is sent to the client.
    InvalidField(&'static str),
}

/// Returns `true` if web clients send an event of this name.
pub(super) fn is_client_event(event: &str) -> bool {
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
pub(super) fn parse(event: &str, payload: &Value) -> Result<ClientRequest, RequestError> {
    let empty = Map::new();
    let fields = payload.as_object().unwrap_or(&empty);
    match event {
        "client:authenticate" => Ok(ClientRequest::Authenticate(parse_claim(fields))),
        "client:page:changed" => parse_page(payload).map(|page| ClientRequest::Page(page, true)),
        "register_page" => parse_page(payload).map(|page| ClientRequest::Page(page, false)),
        "client:sync:request" => Ok(ClientRequest::Sync),
        "request_stats" => Ok(ClientRequest::Stats),
        "request_module_states" => Ok(ClientRequest::States {
            reply: "module_states_sync",
        }),
        "request_state_sync" => Ok(ClientRequest::States {
            reply: "state_sync_response",
        }),
        "send_module_command" | "module_command" => parse_command(fields),
        "module_claim" => {
            let module = fields
                .get("moduleId")
                .and_then(parse_id)
                .ok_or(RequestError::InvalidField("Module ID required"))?;
            let code = ["code", "moduleCode", "module_code"]
                .iter()
                .find_map(|name| fields.get(*name))
                .and_then(parse_id);
            Ok(ClientRequest::Claim {
                module,
                code: code
                    .filter(|code| code.len() <= MAX_CODE_BYTES)
                    .map(Secret::new),
            })
        }
        _ => Err(RequestError::UnknownEvent),
    }
}

/// Parses `{page}` or the bare page name.
fn parse_page(payload: &Value) -> Result<WebPage, RequestError> {
    let name = payload
        .as_str()
        .or_else(|| payload.get("page").and_then(Value::as_str));
    name.map(WebPage::parse)
        .ok_or(RequestError::InvalidField("Page required"))
}

fn parse_claim(fields: &Map<String, Value>) -> ClientClaim {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    // Older pages send their session id here, which proves nothing; a token has two dots.
    let token = text("token")
        .or_else(|| text("sessionToken"))
        .filter(|token| !token.is_empty());
    ClientClaim {
        user: fields.get("userId").and_then(parse_id),
        is_admin: text("userType").or_else(|| text("userRole")) == Some("admin"),
        page: text("page").map(WebPage::parse),
        token: token.map(Secret::new),
    }
}

fn parse_command(fields: &Map<String, Value>) -> Result<ClientRequest, RequestError> {
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
    let invalid = |why| RequestError::InvalidCommand {
        target: Box::new((echo(field("moduleId")), echo(field("command")))),
        reason: why,
    };
    let module = fields
        .get("moduleId")
        .and_then(parse_id)
        .ok_or_else(|| invalid("Module ID required"))?;
    let command = fields
        .get("command")
        .and_then(Value::as_str)
        .filter(|text| is_valid_command(text))
        .ok_or_else(|| invalid("Invalid command"))?;
    let params = match fields.get("params") {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(params) => params.clone(),
    };
    if params.to_string().len() > MAX_PARAMS_BYTES {
        return Err(invalid("Parameters too long"));
    }
    Ok(ClientRequest::Command {
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
        let parsed = |event: &str, payload: Value| format!("{:?}", parse(event, &payload));
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
        let Ok(ClientRequest::Authenticate(claim)) = parse("client:authenticate", &payload) else {
            panic!("a claim")
        };
        assert_eq!(
            (claim.user.as_deref(), claim.is_admin, claim.page),
            (Some("7"), true, Some(WebPage::Admin))
        );
        assert_eq!(claim.token.unwrap().expose(), "a.b.c");
        let Ok(ClientRequest::Authenticate(claim)) =
            parse("client:authenticate", &json!({"userId": 7}))
        else {
            panic!("a claim")
        };
        assert_eq!((claim.user.as_deref(), claim.is_admin), (Some("7"), false));
    }

    #[test]
    fn invalid_requests_are_rejected_with_a_reason() {
        let why = |event: &str, payload: Value| match parse(event, &payload).unwrap_err() {
            RequestError::InvalidCommand { reason: why, .. } | RequestError::InvalidField(why) => {
                why
            }
            RequestError::UnknownEvent => "unknown",
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
        let echoed = parse(
            "module_command",
            &json!({"moduleId": ["x"], "command": "y".repeat(300)}),
        )
        .unwrap_err();
        assert_eq!(
            echoed,
            RequestError::InvalidCommand {
                target: Box::default(),
                reason: "Module ID required"
            }
        );
    }
}
