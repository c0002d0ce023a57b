//! The session cookie of express: `s:<id>.<HMAC-SHA256 in base64>`, as `cookie-signature` writes
//! it.
//!
//! A browser sends cookies by itself, on behalf of any page. So the cookie counts only if the
//! request has the same origin or a listed one: [`may_use_cookies`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

use latido_auth::Secret;
use latido_net::is_same_origin;

use crate::user::{SessionId, is_valid_id};

/// The longest `Cookie` header to read, in bytes.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Returns the session id in a `Cookie` header if one of `secrets` signed it. The first valid
/// cookie of this name counts, because a page may have set another one for its own path.
pub(super) fn session_id(header: &str, name: &str, secrets: &[Secret]) -> Option<SessionId> {
    if header.len() > MAX_HEADER_BYTES {
        return None;
    }
    let pairs = header
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .filter(|(key, _)| key.trim() == name)
        .find_map(|(_, value)| verify_signed_id(value.trim().trim_matches('"'), secrets))
}

fn verify_signed_id(value: &str, secrets: &[Secret]) -> Option<SessionId> {
    let value = percent_decode_str(value).decode_utf8().ok()?;
    let (id, signature) = value.strip_prefix("s:")?.rsplit_once('.')?;
    let signature = STANDARD_NO_PAD
        .decode(signature.trim_end_matches('='))
        .ok()?;
    let made = |secret: &Secret| {
        let mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
        // `verify_slice` compares in constant time.
        mac.chain_update(id).verify_slice(&signature).ok()
    };
    // All secrets are tried, so that the duration does not reveal the current one.
    let good = secrets.iter().filter_map(made).count() > 0;
    (good && is_valid_id(id)).then(|| SessionId::new(id))
}

/// Returns `true` if the request may be identified by its cookies. It must come from a page of the
/// same host, from one of `origins`, or from no page. Browsers send `Origin` with every WebSocket
/// and with every request whose response another site's script may read.
pub(super) fn may_use_cookies(
    origin: Option<&str>,
    host: Option<&str>,
    origins: &[String],
) -> bool {
    let Some(origin) = origin else { return true };
    host.is_some_and(|host| is_same_origin(origin, host))
        || origins
            .iter()
            .any(|listed| listed.eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Created in Node with `sign("abc", "keyboard cat")` of `cookie-signature`, encoded as express
    /// does.
    const SIGNED: &str = "s%3Aabc.BpxCrWRpvZMh%2Fwk%2Fdjl34N%2Bm%2BVQEU7K%2F5WenLwJCgFU";

    fn sign(id: &str, secret: &str) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
            .unwrap()
            .chain_update(id);
        format!(
            "s:{id}.{}",
            STANDARD_NO_PAD.encode(mac.finalize().into_bytes())
        )
    }

    fn read(header: &str) -> Option<String> {
        let secrets = [Secret::new("new secret"), Secret::new("keyboard cat")];
        session_id(header, "connect.sid", &secrets).map(|id| id.expose().to_owned())
    }

    #[test]
    fn signed_session_cookie_is_accepted() {
        assert_eq!(
            read(&format!("connect.sid={SIGNED}")).as_deref(),
            Some("abc")
        );
        for secret in ["new secret", "keyboard cat"] {
            let cookie = sign("a.b-C_9", secret);
            assert_eq!(
                read(&format!("x=1; connect.sid={cookie}")).as_deref(),
                Some("a.b-C_9")
            );
            let encoded =
                percent_encoding::utf8_percent_encode(&cookie, percent_encoding::NON_ALPHANUMERIC);
            assert_eq!(
                read(&format!("connect.sid={encoded};y=2")).as_deref(),
                Some("a.b-C_9")
            );
        }
        let both = format!(
            "connect.sid={}; connect.sid={}",
            sign("a", "other"),
            sign("b", "new secret")
        );
        assert_eq!(read(&both).as_deref(), Some("b"));
    }

    #[test]
    fn other_cookies_are_rejected() {
        let good = sign("abc", "new secret");
        let other = sign("abc", "guessed");
        let unsigned = good.rsplit_once('.').unwrap().0;
        let swapped = good.replace("s:abc", "s:abd");
        for bad in [
            &*other,
            unsigned,
            &swapped,
            &good[2..],
            "s:abc.",
            "s:.",
            "j:{}",
            "",
            "s:%ff.aa",
        ] {
            assert_eq!(read(&format!("connect.sid={bad}")), None, "{bad}");
        }
        assert_eq!(read(&format!("other.sid={good}")), None);
        assert_eq!(
            session_id(&format!("connect.sid={good}"), "connect.sid", &[]),
            None
        );
        assert_eq!(
            read(&format!(
                "{}; connect.sid={good}",
                "x".repeat(MAX_HEADER_BYTES)
            )),
            None
        );
    }

    #[test]
    fn page_of_another_site_cannot_use_the_cookie() {
        let listed = ["https://panel.example.com".to_owned()];
        let may = |origin, host| may_use_cookies(origin, host, &listed);
        assert!(may(None, Some("a.example")));
        assert!(may(Some("https://A.example:8080"), Some("a.example:8080")));
        assert!(may(Some("https://panel.example.com"), Some("a.example")));
        for origin in [
            "https://evil.example",
            "https://a.example.evil.example",
            "null",
            "https://a.example:81",
        ] {
            assert!(!may(Some(origin), Some("a.example")), "{origin}");
        }
        assert!(!may(Some("https://a.example"), None));
    }
}
