//! The REST call with which servers send a notification to a user.

use std::sync::Arc;

use std::collections::BTreeMap;

use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::authenticate::ERRORS;
use crate::database::MessagingDatabase;
use latido_app_kit::{ApiKeys, PresentedKey, RouteRequest, Router};
use latido_http::{AppRequest, AppResponse};

/// The largest request body, in bytes: a notification of the largest size with escaped characters.
const MAX_BODY_BYTES: usize = 512 * 1024;
/// The classes of SQLSTATE with which the database refuses a value: one that is too large, or nested
/// too deeply.
const INVALID_VALUE_CLASSES: [&str; 3] = ["22", "23", "54"];
/// The length of an id in its canonical form with hyphens, the only one that is accepted.
const UUID_LENGTH: usize = 36;

/// What the call needs: the store, and the keys of its callers.
#[derive(Debug)]
pub(super) struct NotificationApi {
    pub(super) database: MessagingDatabase,
    pub(super) keys: ApiKeys,
}

/// A caller that has presented a key.
struct Backend;

/// A notification of a request.
#[derive(Debug, PartialEq)]
struct Notification {
    /// The id with which the request can be repeated.
    id: Option<Uuid>,
    user: Uuid,
    /// The payload as JSON text of an object.
    payload: String,
}

/// The reason why a request body is invalid: what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct InvalidBody(&'static str);

/// Builds the route.
pub(super) fn router(api: NotificationApi) -> Router<NotificationApi> {
    Router::new(Arc::new(api), ERRORS)
        .max_body_bytes(MAX_BODY_BYTES)
        .post("/messaging/api/v1/notifications", authorize, send)
}

fn authorize(api: &NotificationApi, request: &AppRequest) -> Result<Backend, AppResponse> {
    match api.keys.check_header_or_bearer(request) {
        PresentedKey::Valid => Ok(Backend),
        PresentedKey::Missing | PresentedKey::Wrong => Err(ERRORS.unauthorized("unauthorized")),
    }
}

async fn send(api: Arc<NotificationApi>, request: RouteRequest<Backend>) -> AppResponse {
    let notification = match parse(&request.request.body) {
        Ok(notification) => notification,
        Err(InvalidBody(expected)) => return ERRORS.bad_request(expected),
    };
    let Some(id) = notification.id.or_else(random_id) else {
        return ERRORS.retry_later("unavailable");
    };
    let sent = api
        .database
        .notify(id, notification.user, &notification.payload);
    match sent.await {
        Ok(()) => AppResponse::json(200, json!({"id": id}).to_string()),
        Err(error)
            if error.sqlstate().is_some_and(|state| {
                INVALID_VALUE_CLASSES
                    .iter()
                    .any(|class| state.starts_with(class))
            }) =>
        {
            ERRORS.bad_request("notification: expected at most 65,536 bytes, not nested deeply")
        }
        Err(error) => {
            tracing::warn!(%error, "a notification could not be stored");
            ERRORS.retry_later("unavailable")
        }
    }
}

/// Parses a request body.
fn parse(body: &[u8]) -> Result<Notification, InvalidBody> {
    let body: BTreeMap<String, &RawValue> =
        serde_json::from_slice(body).map_err(|_| InvalidBody("expected a JSON object"))?;
    let uuid = |name: &str| {
        let id: String = serde_json::from_str(body.get(name)?.get()).ok()?;
        id.parse().ok().filter(|_| id.len() == UUID_LENGTH)
    };
    let id = uuid("id");
    if id.is_none() && body.get("id").is_some_and(|id| id.get() != "null") {
        return Err(InvalidBody("id: expected a UUID"));
    }
    let user = uuid("user_id").ok_or(InvalidBody("user_id: expected a UUID"))?;
    let payload = body.get("notification").map(|payload| payload.get());
    match payload {
        Some(payload) if payload.starts_with('{') => Ok(Notification {
            id,
            user,
            payload: payload.to_owned(),
        }),
        _ => Err(InvalidBody("notification: expected an object")),
    }
}

/// Returns a random id, or `None` if the system gives no random numbers.
fn random_id() -> Option<Uuid> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn body_is_checked_field_by_field() {
        let user = Uuid::from_u128(1);
        let parsed = |body: Value| parse(body.to_string().as_bytes());
        let payload = r#"{ "b": 1e400,"a":"\u0000" }"#;
        let body = format!(r#"{{"user_id": "{user}", "x\n": 1, "notification": {payload}}}"#);
        assert_eq!(
            parse(body.as_bytes()),
            Ok(Notification {
                id: None,
                user,
                payload: payload.to_owned(),
            }),
            "as it was written"
        );
        let with_id = json!({"id": user, "user_id": user, "notification": {}});
        assert_eq!(parsed(with_id).unwrap().id, Some(user));
        for (body, expected) in [
            (json!({"notification": {}}), "user_id: expected a UUID"),
            (
                json!({"user_id": 7, "notification": {}}),
                "user_id: expected a UUID",
            ),
            (json!({"user_id": user}), "notification: expected an object"),
            (
                json!({"user_id": user, "notification": "x"}),
                "notification: expected an object",
            ),
            (
                json!({"id": "x", "user_id": user, "notification": {}}),
                "id: expected a UUID",
            ),
            (
                json!({"id": 7, "user_id": user, "notification": {}}),
                "id: expected a UUID",
            ),
            (
                json!({"user_id": user.simple().to_string(), "notification": {}}),
                "user_id: expected a UUID",
            ),
            (json!([]), "expected a JSON object"),
        ] {
            assert_eq!(parsed(body.clone()), Err(InvalidBody(expected)), "{body}");
        }
        assert_eq!(parse(b"{"), Err(InvalidBody("expected a JSON object")));
    }
}
