//! The reasons for a disconnect, and the delays before reconnecting. Pure.

use std::time::Duration;

use latido_base::backoff::BackoffRange;
use tokio_tungstenite::tungstenite::http::StatusCode;

/// The longest delay before reconnecting.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// The bounds of the random delays before reconnecting.
pub(super) const RECONNECT_DELAYS: BackoffRange =
    BackoffRange::new(Duration::from_millis(500), MAX_DELAY);

/// The end of a connection, or of an attempt to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WatchDisconnect {
    /// Reconnecting would change nothing; contains the reason.
    Permanent(String),
    /// The connection may be retried later.
    Retry {
        reason: String,
        /// The minimum delay before the next attempt.
        min_delay: Duration,
    },
}

impl WatchDisconnect {
    pub(super) fn retry(reason: impl Into<String>) -> Self {
        Self::Retry {
            reason: reason.into(),
            min_delay: Duration::ZERO,
        }
    }
}

/// Interprets a close frame. A `code` of `None` means that the connection broke without one.
pub(super) fn on_close_frame(code: Option<u16>, reason: &str) -> WatchDisconnect {
    let reason = printable(reason);
    let suffix = if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    };
    match code {
        Some(4401) => WatchDisconnect::Permanent(format!(
            "the token is invalid or has expired; get a new one (latido token){suffix}"
        )),
        Some(4403) => WatchDisconnect::Permanent(format!("forbidden{suffix}")),
        Some(1009) => WatchDisconnect::Permanent(format!(
            "the server found a message of ours too big{suffix}"
        )),
        Some(code) => {
            WatchDisconnect::retry(format!("{} ({code}){suffix}", close_code_meaning(code)))
        }
        None => WatchDisconnect::retry("the connection broke"),
    }
}

fn close_code_meaning(code: u16) -> &'static str {
    match code {
        1012 => "the server restarts",
        1013 => "the server is overloaded",
        4408 => "the server missed our heartbeat",
        4413 => "we were too slow",
        4429 => "we sent too many messages",
        _ => "the server closed the connection",
    }
}

/// Interprets an HTTP response other than 101 to the upgrade request.
pub(super) fn on_http_status(status: StatusCode, retry_after: Option<&str>) -> WatchDisconnect {
    match status.as_u16() {
        401 => WatchDisconnect::Permanent(
            "the token was refused (401); get a new one (latido token)".to_owned(),
        ),
        403 => WatchDisconnect::Permanent("forbidden (403)".to_owned()),
        429 | 500..=599 => {
            let after = retry_after
                .and_then(|text| text.parse().ok())
                .map_or(Duration::ZERO, Duration::from_secs);
            WatchDisconnect::Retry {
                reason: format!("the server answered {status}"),
                min_delay: after.min(MAX_DELAY * 4),
            }
        }
        _ => WatchDisconnect::Permanent(format!(
            "the server answered {status}; expected a WebSocket at --url"
        )),
    }
}

/// Returns at most 200 characters of a server's text, without the control characters that could
/// change the terminal's state.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_for_good(disconnect: &WatchDisconnect) -> bool {
        matches!(disconnect, WatchDisconnect::Permanent(_))
    }

    #[test]
    fn close_codes_decide_about_reconnecting() {
        for (code, for_good) in [
            (1000, false),
            (1001, false),
            (1009, true),
            (1012, false),
            (1013, false),
            (4401, true),
            (4403, true),
            (4408, false),
            (4413, false),
            (4429, false),
        ] {
            assert_eq!(
                is_for_good(&on_close_frame(Some(code), "")),
                for_good,
                "{code}"
            );
        }
        assert!(!is_for_good(&on_close_frame(None, "")));
        assert_eq!(
            on_close_frame(Some(4403), "no\u{1b}[2J"),
            WatchDisconnect::Permanent("forbidden: no[2J".into())
        );
    }

    #[test]
    fn http_status_decides_about_reconnecting() {
        let refused = |code, after| on_http_status(StatusCode::from_u16(code).unwrap(), after);
        assert!(
            [400, 401, 403, 404, 200, 301]
                .iter()
                .all(|&code| is_for_good(&refused(code, None)))
        );
        assert!(
            [429, 500, 502, 503]
                .iter()
                .all(|&code| !is_for_good(&refused(code, None)))
        );
        assert!(
            matches!(refused(503, Some("7")), WatchDisconnect::Retry { min_delay, .. } if min_delay == Duration::from_secs(7))
        );
        assert!(
            matches!(refused(503, Some("999999")), WatchDisconnect::Retry { min_delay, .. } if min_delay <= Duration::from_secs(120))
        );
    }
}
