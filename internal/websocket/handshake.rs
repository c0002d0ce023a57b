//! The opening handshake (RFC 6455 §4.2), apart from HTTP: header values in, a verdict out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// What §1.3 appends to the key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The only version there is (§4.2.1, item 6).
pub const VERSION: &str = "13";
/// The subprotocol that carries a token: a client offers `bearer, <token>`, and the answer is `bearer`.
pub const BEARER: &str = "bearer";

/// The headers of a request, each with its lines joined by commas; an absent one is empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct Offer<'a> {
    /// `Upgrade`
    pub upgrade: &'a str,
    /// `Connection`
    pub connection: &'a str,
    /// `Sec-WebSocket-Version`
    pub version: &'a str,
    /// `Sec-WebSocket-Key`
    pub key: &'a str,
}

/// Why a request can't be upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// To be answered with 426 and `Upgrade: websocket`.
    #[error("this is a WebSocket address; expected Connection: Upgrade and Upgrade: websocket")]
    NoUpgrade,
    /// To be answered with 426 and `Sec-WebSocket-Version: 13` (§4.4).
    #[error("expected Sec-WebSocket-Version: 13")]
    Version,
    /// To be answered with 400.
    #[error("expected Sec-WebSocket-Key: 16 bytes in base64")]
    Key,
}

/// Judges a GET request over HTTP/1.1; returns the `Sec-WebSocket-Accept` of the answer.
pub fn accept(offer: &Offer<'_>) -> Result<String, Refused> {
    if !has_token(offer.upgrade, "websocket") || !has_token(offer.connection, "upgrade") {
        return Err(Refused::NoUpgrade);
    }
    if offer.version.trim() != VERSION {
        return Err(Refused::Version);
    }
    let key = offer.key.trim();
    match STANDARD.decode(key) {
        Ok(bytes) if bytes.len() == 16 => Ok(accept_key(key)),
        _ => Err(Refused::Key),
    }
}

/// `Sec-WebSocket-Accept` for a key (§4.2.2, item 5.4).
pub fn accept_key(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// The token in `Sec-WebSocket-Protocol: bearer, <token>`: whatever follows `bearer` in the list.
pub fn bearer_token(protocols: &str) -> Option<&str> {
    let mut offered = protocols.split(',').map(str::trim);
    offered.find(|name| name.eq_ignore_ascii_case(BEARER))?;
    offered.next().filter(|token| !token.is_empty())
}

/// Whether a comma-separated list names a token, in whatever case.
fn has_token(list: &str, token: &str) -> bool {
    list.split(',')
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn offer() -> Offer<'static> {
        Offer {
            upgrade: "websocket",
            connection: "Upgrade",
            version: "13",
            key: KEY,
        }
    }

    #[test]
    fn section_1_3_example() {
        assert_eq!(
            accept(&offer()).as_deref(),
            Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
    }

    #[test]
    fn lists_and_cases_of_browsers_are_understood() {
        for (upgrade, connection) in [
            ("WebSocket", "keep-alive, Upgrade"),
            ("h2c,websocket", "upgrade"),
            (" websocket ", "UPGRADE ,x"),
        ] {
            assert!(
                accept(&Offer {
                    upgrade,
                    connection,
                    ..offer()
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
                accept(&Offer {
                    upgrade,
                    connection,
                    ..offer()
                }),
                Err(Refused::NoUpgrade)
            );
        }
        for version in ["", "8", "14", "13, 8"] {
            assert_eq!(accept(&Offer { version, ..offer() }), Err(Refused::Version));
        }
        for key in [
            "",
            "x",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25j",
            "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        ] {
            assert_eq!(
                accept(&Offer { key, ..offer() }),
                Err(Refused::Key),
                "{key}"
            );
        }
    }

    #[test]
    fn a_token_may_ride_as_a_subprotocol() {
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
