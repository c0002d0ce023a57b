//! What web clients ask. Pure.

use serde_json::{Map, Value};

use crate::auth::Secret;

use crate::apps::modules::device::frame::is_command;
use crate::apps::modules::identity::id_text;
use crate::apps::modules::page::Page;

/// Longest parameters of a command, in bytes of JSON.
const PARAMS_BYTES: usize = 8 * 1024;
/// Longest code of a module, in bytes.
const CODE_BYTES: usize = 128;

/// A request, understood.
#[derive(Debug)]
pub(super) enum Request {
    /// Who the client is, or says it is.
    Authenticate(Claim),
    /// It shows another page; whether it wants what the page begins with.
    Page(Page, bool),
    /// What the page begins with.
    Sync,
    /// The two counts.
    Stats,
    /// The states of all modules that it may see, under that event.
    States { reply: &'static str },
    /// A module is to do something.
    Command {
        module: String,
        command: String,
        params: Value,
    },
    /// A module is to be the client's.
    Claim {
        module: String,
        code: Option<Secret>,
    },
}

/// What a client says about itself: compared with what was proved, never believed.
#[derive(Debug, Default)]
pub(super) struct Claim {
    pub(super) user: Option<String>,
    pub(super) is_admin: bool,
    pub(super) page: Option<Page>,
    /// A proof.
    pub(super) token: Option<Secret>,
}

/// Why a request is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No such event.
    Unknown,
    /// A command without what it needs: said as an error of that command, with the module and the command that were named.
    Command {
        named: Box<(Value, Value)>,
        why: &'static str,
    },
    /// A field is wrong.
    Invalid(&'static str),
}

/// Whether web clients send an event of that name.
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

/// Understands an event.
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

/// `{page}`, or the bare name.
fn page(payload: &Value) -> Result<Page, Refusal> {
    let name = payload
        .as_str()
        .or_else(|| payload.get("page").and_then(Value::as_str));
    name.map(Page::of).ok_or(Refusal::Invalid("Page required"))
}

fn claim(fields: &Map<String, Value>) -> Claim {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    // Older pages put the name of their session there, which proves nothing; a token has two dots.
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
    let said = |name: &str| fields.get(name).cloned().unwrap_or(Value::Null);
    // What is echoed is short, whatever came.
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
    let refuse = |why| Refusal::Command {
        named: Box::new((echo(said("moduleId")), echo(said("command")))),
        why,
    };
    let module = fields
        .get("moduleId")
        .and_then(id_text)
        .ok_or_else(|| refuse("Module ID required"))?;
    let command = fields
        .get("command")
        .and_then(Value::as_str)
        .filter(|text| is_command(text))
        .ok_or_else(|| refuse("Invalid command"))?;
    let params = match fields.get("params") {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(params) => params.clone(),
    };
    if params.to_string().len() > PARAMS_BYTES {
        return Err(refuse("Parameters too long"));
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
    fn every_request_of_the_contract_is_understood() {
        let seen = |event: &str, payload: Value| format!("{:?}", read(event, &payload));
        assert_eq!(
            seen("client:page:changed", json!({"page": "modules"})),
            "Ok(Page(Modules, true))"
        );
        assert_eq!(
            seen("register_page", json!({"page": "somewhere"})),
            "Ok(Page(Other, false))"
        );
        assert_eq!(
            seen("register_page", json!("admin")),
            "Ok(Page(Admin, false))"
        );
        assert_eq!(seen("client:sync:request", Value::Null), "Ok(Sync)");
        assert_eq!(seen("request_stats", Value::Null), "Ok(Stats)");
        assert_eq!(
            seen("request_module_states", Value::Null),
            r#"Ok(States { reply: "module_states_sync" })"#
        );
        assert_eq!(
            seen("request_state_sync", json!({})),
            r#"Ok(States { reply: "state_sync_response" })"#
        );
        for event in ["send_module_command", "module_command"] {
            let command = seen(event, json!({"moduleId": "M1", "command": "left"}));
            assert_eq!(
                command,
                r#"Ok(Command { module: "M1", command: "left", params: Object {} })"#
            );
        }
        let claim = seen("module_claim", json!({"moduleId": "M1", "code": "s3cret"}));
        assert_eq!(
            claim,
            r#"Ok(Claim { module: "M1", code: Some([redacted]) })"#
        );
    }

    #[test]
    fn a_clients_word_about_itself_is_a_claim() {
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
    fn what_is_wrong_is_refused_with_its_reason() {
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
