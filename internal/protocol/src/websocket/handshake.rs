//! The opening handshake (RFC 6455 section 4.2), independent of HTTP: it takes header values and
//! returns the response's key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// The constant that RFC 6455 section 1.3 appends to the key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The only supported protocol version (section 4.2.1, item 6).
pub const VERSION: &str = "13";
/// The subprotocol that carries a token: a client offers `bearer, <token>`, and the response
/// confirms `bearer`.
pub const BEARER: &str = "bearer";

/// The handshake headers of a request. Repeated lines are joined by commas; a missing header is
/// empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct UpgradeHeaders<'a> {
    /// The value of the `Upgrade` header.
    pub upgrade: &'a str,
    /// The value of the `Connection` header.
    pub connection: &'a str,
    /// The value of the `Sec-WebSocket-Version` header.
    pub version: &'a str,
    /// The value of the `Sec-WebSocket-Key` header.
    pub key: &'a str,
}

/// The reason for which a request cannot be upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The request asks for no upgrade. The response is 426 with `Upgrade: websocket`.
    #[error("this is a WebSocket address; expected Connection: Upgrade and Upgrade: websocket")]
    NoUpgrade,
    /// The version is not supported. The response is 426 with `Sec-WebSocket-Version: 13` (section
    /// 4.4).
    #[error("expected Sec-WebSocket-Version: 13")]
    Version,
    /// The key is not valid. The response is 400.
    #[error("expected Sec-WebSocket-Key: 16 bytes in base64")]
    Key,
}

/// Checks the headers of a GET request over HTTP/1.1. Returns the `Sec-WebSocket-Accept` of the
/// response.
///
/// # Errors
///
/// Returns the first requirement of section 4.2.1 that the request does not meet.
pub fn accept(headers: &UpgradeHeaders<'_>) -> Result<String, HandshakeError> {
    if !has_token(headers.upgrade, "websocket") || !has_token(headers.connection, "upgrade") {
        return Err(HandshakeError::NoUpgrade);
    }
    if headers.version.trim() != VERSION {
        return Err(HandshakeError::Version);
    }
    let key = headers.key.trim();
    match STANDARD.decode(key) {
        Ok(bytes) if bytes.len() == 16 => Ok(accept_key(key)),
        _ => Err(HandshakeError::Key),
    }
}

/// Returns the `Sec-WebSocket-Accept` for a key (section 4.2.2, item 5.4).
pub fn accept_key(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// Returns the token in `Sec-WebSocket-Protocol: bearer, <token>`, which is the list item after
/// `bearer`.
pub fn bearer_token(protocols: &str) -> Option<&str> {
    let mut names = protocols.split(',').map(str::trim);
    names.find(|name| name.eq_ignore_ascii_case(BEARER))?;
    names.next().filter(|token| !token.is_empty())
}

/// Returns whether a comma-separated list contains a token, ignoring case.
fn has_token(list: &str, token: &str) -> bool {
    list.split(',')
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn valid_headers() -> UpgradeHeaders<'static> {
        UpgradeHeaders {
            upgrade: "websocket",
            connection: "Upgrade",
            version: "13",
            key: KEY,
        }
    }

    #[test]
    fn section_1_3_example() {
        assert_eq!(
            accept(&valid_headers()).as_deref(),
            Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
    }

    #[test]
    fn header_lists_are_matched_ignoring_case() {
        for (upgrade, connection) in [
            ("WebSocket", "keep-alive, Upgrade"),
            ("h2c,websocket", "upgrade"),
            (" websocket ", "UPGRADE ,x"),
        ] {
            assert!(
                accept(&UpgradeHeaders {
                    upgrade,
                    connection,
                    ..valid_headers()
                })
                .is_ok(),
                "{upgrade} {connection}"
            );
        }
    }

    #[test]
    fn section_4_2_1_requirements() {
        for (upgrade, connection) in [
            ("", "Upgrade"),
            ("h2c", "Upgrade"),
            ("websocket", ""),
            ("websocket", "keep-alive"),
            ("websockets", "upgrade"),
        ] {
            assert_eq!(
                accept(&UpgradeHeaders {
                    upgrade,
                    connection,
                    ..valid_headers()
                }),
                Err(HandshakeError::NoUpgrade)
            );
        }
        for version in ["", "8", "14", "13, 8"] {
            assert_eq!(
                accept(&UpgradeHeaders {
                    version,
                    ..valid_headers()
                }),
                Err(HandshakeError::Version)
            );
        }
        for key in [
            "",
            "x",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25j",
            "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        ] {
            assert_eq!(
                accept(&UpgradeHeaders {
                    key,
                    ..valid_headers()
                }),
                Err(HandshakeError::Key),
                "{key}"
            );
        }
    }

    #[test]
    fn bearer_token_is_read_from_the_subprotocols() {
        assert_eq!(bearer_token("bearer, aaa.bbb.ccc"), Some("aaa.bbb.ccc"));
        assert_eq!(
            bearer_token("native,bearer,aaa.bbb.ccc,other"),
            Some("aaa.bbb.ccc")
        );
        for none in ["", "bearer", "bearer,", "aaa.bbb.ccc", "aaa, bearer"] {
            assert_eq!(bearer_token(none), None, "{none}");
        }
    }
}
