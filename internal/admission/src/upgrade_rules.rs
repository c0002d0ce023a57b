//! The checks of a request that asks for a WebSocket. They hold on both paths: the fast one on a
//! shard's thread, and the regular one through HTTP.

use std::fmt;
use std::sync::Arc;

use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use crate::connection_limits::ConnectionLimits;
use crate::headers::{allows_page, joined_header};
use crate::request_head::{MethodNotAllowed, RequestHead};
use crate::trusted_proxies::{TrustedProxies, X_FORWARDED_FOR};
use latido_auth::{Principal, Verifier};
use latido_base::drain::Drain;
use latido_base::ident::UserId;
use latido_net::Origins;
use latido_protocol::websocket::handshake::{self, BEARER, HandshakeError, UpgradeHeaders};
use latido_stream::Catalog;

/// Returns whether an unverified token looks like one of an app's. Such a request is left to HTTP,
/// where the app authenticates it.
pub type TokenClaim = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The reason for which a request gets no WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeRejection {
    /// The method is not GET.
    Method(MethodNotAllowed),
    /// The server stops.
    Draining,
    /// The page's origin is not on the list.
    Origin,
    /// The database has not been reached yet.
    NotReady,
    /// The headers are no valid handshake.
    Handshake(HandshakeError),
    /// The user has too many connections.
    UserLimit,
    /// The client's address has too many connections.
    AddressLimit,
}

impl From<MethodNotAllowed> for UpgradeRejection {
    fn from(error: MethodNotAllowed) -> Self {
        Self::Method(error)
    }
}

impl From<HandshakeError> for UpgradeRejection {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

/// The rules of one server, shared by all of its listeners.
pub struct UpgradeRules {
    /// The origins whose pages may connect.
    pub origins: Origins,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub proxies: TrustedProxies,
    /// The connection limits.
    pub limits: ConnectionLimits,
    /// The configured streams; no client is admitted before the first one was prepared.
    pub catalog: Arc<Catalog>,
    /// Verifies tokens into principals.
    pub verifier: Arc<Verifier>,
    /// The stop signal. A server that stops admits no one.
    pub drain: Drain,
}

impl UpgradeRules {
    /// Checks a request before its token: the method, the drain state and the origin.
    ///
    /// # Errors
    /// The first of these that rejects the request.
    pub fn check_request(&self, head: &RequestHead) -> Result<(), UpgradeRejection> {
        self.check_availability(head)?;
        self.check_origin(head)
    }

    /// Checks the method and the drain state, for clients whose origin does not matter.
    ///
    /// # Errors
    /// The first of these that rejects the request.
    pub fn check_availability(&self, head: &RequestHead) -> Result<(), UpgradeRejection> {
        head.require_get()?;
        if self.drain.is_stopping() {
            return Err(UpgradeRejection::Draining);
        }
        Ok(())
    }

    /// Rejects pages of other hosts that are not on the list. CORS does not protect WebSockets, so
    /// the server must.
    ///
    /// # Errors
    /// The page's origin is not on the list.
    pub fn check_origin(&self, head: &RequestHead) -> Result<(), UpgradeRejection> {
        if allows_page(&self.origins, &head.headers) {
            Ok(())
        } else {
            Err(UpgradeRejection::Origin)
        }
    }

    /// Checks a request after its token: readiness and handshake. Returns the 101 response.
    ///
    /// # Errors
    /// The first of these that rejects the request.
    pub fn check_handshake(&self, head: &RequestHead) -> Result<Response<()>, UpgradeRejection> {
        if !self.catalog.is_ready() {
            return Err(UpgradeRejection::NotReady);
        }
        Ok(handshake_response(&head.headers)?)
    }

    /// Verifies the request's token without I/O. Returns `None` if the token is missing or invalid,
    /// or if checking it needs I/O.
    pub fn try_authenticate(&self, head: &RequestHead) -> Option<Principal> {
        self.verifier.try_verify(&head.token()?)?.ok()
    }

    /// Acquires the permits that a long-lived connection needs beside its own: one of the user's, if
    /// the user is known, and one of the client's address, if a trusted proxy names it.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn acquire_user_permits(
        &self,
        head: &RequestHead,
        user: Option<&UserId>,
    ) -> Result<Vec<OwnedSemaphorePermit>, UpgradeRejection> {
        let user = user
            .map(|user| self.limits.acquire_user(user))
            .transpose()
            .map_err(|_| UpgradeRejection::UserLimit)?;
        let proxy = head
            .remote_addr
            .map(|address| address.ip())
            .filter(|address| self.proxies.trusts(*address));
        let client =
            proxy.map(|proxy| self.proxies.client_ip(proxy, &head.header(X_FORWARDED_FOR)));
        let address = client
            .map(|client| self.limits.acquire_address(client))
            .transpose()
            .map_err(|_| UpgradeRejection::AddressLimit)?;
        Ok(user
            .flatten()
            .into_iter()
            .chain(address.flatten())
            .collect())
    }
}

impl fmt::Debug for UpgradeRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeRules")
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}

/// Builds the 101 response. It selects the subprotocol `bearer` if the client offered
/// `bearer, <token>`: browsers fail the connection unless the server selects one of the two, and it
/// must never select the token.
///
/// # Errors
/// The requirement that the request does not meet.
pub fn handshake_response(headers: &HeaderMap) -> Result<Response<()>, HandshakeError> {
    let mut response = plain_handshake_response(headers)?;
    if handshake::bearer_token(&joined_header(headers, SEC_WEBSOCKET_PROTOCOL)).is_some() {
        let bearer = HeaderValue::from_static(BEARER);
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, bearer);
    }
    Ok(response)
}

/// Builds the 101 response without a subprotocol, for a WebSocket that a mounted service handles.
///
/// # Errors
/// The requirement that the request does not meet.
pub fn plain_handshake_response(headers: &HeaderMap) -> Result<Response<()>, HandshakeError> {
    let accept = handshake::accept(&UpgradeHeaders {
        upgrade: &joined_header(headers, UPGRADE),
        connection: &joined_header(headers, CONNECTION),
        version: &joined_header(headers, SEC_WEBSOCKET_VERSION),
        key: &joined_header(headers, SEC_WEBSOCKET_KEY),
    })?;
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::from_str(&accept).map_err(|_| HandshakeError::Key)?;
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}
