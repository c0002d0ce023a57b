//! A client of the Django API, which resolves a token to a user profile.

use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::Value;

use crate::user::{Role, id_text};
use latido_net::{BodyError, HttpsClientOptions, https_client, read_body};

/// The path at which the API returns the profile of a token's user.
const PROFILE_PATH: &str = "api/v1/profile/";
/// The maximum size of a profile response, in bytes. Real ones have a few hundred.
const MAX_BYTES: usize = 64 * 1024;

/// The user that a token belongs to, according to the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UserProfile {
    pub(super) id: String,
    /// The user's role. `None` if the user is neither a client nor a provider.
    pub(super) role: Option<Role>,
}

/// A failed API request, or a response that is not usable. Never contains the token or the address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DjangoError {
    #[error("{0}")]
    Unreachable(String),
    #[error("answered {0}; redirects are not followed")]
    Status(u16),
    #[error("answered with more than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("answered with something that is no profile")]
    InvalidProfile,
}

/// A service that resolves tokens to profiles.
pub(super) trait ProfileSource: Send + Sync {
    /// Returns the profile of the token's user. Returns `None` if the token is invalid.
    fn profile(
        &self,
        token: String,
    ) -> BoxFuture<'static, Result<Option<UserProfile>, DjangoError>>;

    /// Checks that the service answers at all.
    fn probe(&self) -> BoxFuture<'static, Result<(), DjangoError>>;
}

/// The HTTP client of the API at its configured address.
pub(super) struct DjangoClient {
    url: Url,
    method: Method,
    client: Client,
}

impl DjangoClient {
    pub(super) fn new(url: &str, posts: bool, timeout: Duration) -> anyhow::Result<Self> {
        let mut url: Url = url.parse()?;
        anyhow::ensure!(
            matches!(url.scheme(), "http" | "https"),
            "expected an address of http or https"
        );
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let url = url.join(PROFILE_PATH)?;
        let options = HttpsClientOptions {
            timeout,
            max_idle: usize::MAX,
            user_agent: Some(concat!("latido/", env!("CARGO_PKG_VERSION"))),
        };
        let client = https_client(&url, options)?;
        Ok(Self {
            url,
            method: if posts { Method::POST } else { Method::GET },
            client,
        })
    }

    fn request_profile(
        &self,
        token: Option<&str>,
    ) -> BoxFuture<'static, Result<(StatusCode, Vec<u8>), DjangoError>> {
        let mut request = self.client.request(self.method.clone(), self.url.clone());
        if let Some(token) = token {
            let Ok(mut value) = HeaderValue::from_str(&format!("Token {token}")) else {
                return Box::pin(async { Ok((StatusCode::UNAUTHORIZED, Vec::new())) });
            };
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        Box::pin(async move {
            let unreachable =
                |error: reqwest::Error| DjangoError::Unreachable(failure_reason(&error).to_owned());
            let response = request.send().await.map_err(unreachable)?;
            let status = response.status();
            match read_body(response, MAX_BYTES).await {
                Ok(body) => Ok((status, body)),
                Err(BodyError::TooLong { .. }) => Err(DjangoError::TooLarge),
                Err(BodyError::Http(error)) => Err(unreachable(error)),
            }
        })
    }
}

/// Returns a short reason. The crate's own error text would contain the address.
fn failure_reason(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the answer broke off"
    }
}

impl ProfileSource for DjangoClient {
    fn profile(
        &self,
        token: String,
    ) -> BoxFuture<'static, Result<Option<UserProfile>, DjangoError>> {
        let response = self.request_profile(Some(&token));
        Box::pin(async move {
            let (status, body) = response.await?;
            parse_profile(status.as_u16(), &body)
        })
    }

    fn probe(&self) -> BoxFuture<'static, Result<(), DjangoError>> {
        let response = self.request_profile(None);
        Box::pin(async move {
            match response.await? {
                // The API is up: it rejects a request without a token.
                (status, _) if status.is_success() || status.is_client_error() => Ok(()),
                (status, _) => Err(DjangoError::Status(status.as_u16())),
            }
        })
    }
}

/// Interprets a profile response. Statuses 400, 401 and 403 mean an invalid token; an older gateway
/// treated 403 differently.
fn parse_profile(status: u16, body: &[u8]) -> Result<Option<UserProfile>, DjangoError> {
    match status {
        200 => {}
        400 | 401 | 403 => return Ok(None),
        other => return Err(DjangoError::Status(other)),
    }
    let profile: Value = serde_json::from_slice(body).map_err(|_| DjangoError::InvalidProfile)?;
    let id = profile.get("id").or_else(|| profile.get("user")?.get("id"));
    let id = id.and_then(id_text).ok_or(DjangoError::InvalidProfile)?;
    // The API never returns the role «admin»; administrators come from this server's configuration.
    let role = profile
        .get("rol")
        .and_then(Value::as_str)
        .and_then(Role::parse)
        .filter(|role| *role != Role::Admin);
    Ok(Some(UserProfile { id, role }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_responses_are_validated() {
        let profile = |id: &str, role| {
            Ok(Some(UserProfile {
                id: id.into(),
                role,
            }))
        };
        for (status, body, expected) in [
            (
                200,
                r#"{"user":{"id":1},"id":7,"rol":"cliente"}"#,
                profile("7", Some(Role::Cliente)),
            ),
            (
                200,
                r#"{"user":{"id":1},"rol":"proveedor"}"#,
                profile("1", Some(Role::Proveedor)),
            ),
            (200, r#"{"id":"7","rol":null}"#, profile("7", None)),
            (200, r#"{"id":7,"rol":"admin"}"#, profile("7", None)),
            (200, r#"{"id":null}"#, Err(DjangoError::InvalidProfile)),
            (200, "{}", Err(DjangoError::InvalidProfile)),
            (200, "<html>", Err(DjangoError::InvalidProfile)),
            (200, "", Err(DjangoError::InvalidProfile)),
            (401, "", Ok(None)),
            (403, r#"{"id":7,"rol":"cliente"}"#, Ok(None)),
            (201, r#"{"id":7}"#, Err(DjangoError::Status(201))),
            (302, "", Err(DjangoError::Status(302))),
            (404, "", Err(DjangoError::Status(404))),
            (500, "", Err(DjangoError::Status(500))),
        ] {
            assert_eq!(
                parse_profile(status, body.as_bytes()),
                expected,
                "{status} {body}"
            );
        }
    }
}
