//! The REST call with which servers send a notification to a user.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::authenticate::ERRORS;
use crate::database::MessagingDatabase;
use latido_app_kit::{ApiKeys, PresentedKey, RouteRequest, Router};
use latido_http::{AppRequest, AppResponse};

/// The largest request body, in bytes: a notification of the largest size with escaped characters.
const MAX_BODY_BYTES: usize = 512 * 1024;
/// The classes of SQLSTATE with which the database refuses a value, such as one that is too large.
const INVALID_VALUE_CLASSES: [&str; 2] = ["22", "23"];

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
        Err(expected) => return ERRORS.bad_request(expected),
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
            ERRORS.bad_request("notification: expected at most 65,536 bytes, without NUL")
        }
        Err(error) => {
            tracing::warn!(%error, "a notification could not be stored");
            ERRORS.retry_later("unavailable")
        }
    }
}

/// Parses a request body.
///
/// # Errors
/// Returns what was expected.
fn parse(body: &[u8]) -> Result<Notification, &'static str> {
    let body: Value = serde_json::from_slice(body).map_err(|_| "expected a JSON object")?;
    let uuid = |value: &Value| value.as_str().and_then(|id| id.parse().ok());
    let id = match &body["id"] {
        Value::Null => None,
        id => Some(uuid(id).ok_or("id: expected a UUID")?),
    };
    let user = uuid(&body["user_id"]).ok_or("user_id: expected a UUID")?;
    match &body["notification"] {
        Value::Object(payload) => Ok(Notification {
            id,
            user,
            payload: json!(payload).to_string(),
        }),
        _ => Err("notification: expected an object"),
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
    use super::*;

    #[test]
    fn body_is_checked_field_by_field() {
        let user = Uuid::from_u128(1);
        let parsed = |body: Value| parse(body.to_string().as_bytes());
        let notification = json!({"title": "Hola", "nested": [1, null]});
        assert_eq!(
            parsed(json!({"user_id": user, "notification": notification})),
            Ok(Notification {
                id: None,
                user,
                payload: notification.to_string(),
            })
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
            (json!([]), "user_id: expected a UUID"),
        ] {
            assert_eq!(parsed(body.clone()), Err(expected), "{body}");
        }
        assert_eq!(parse(b"{"), Err("expected a JSON object"));
    }
}
