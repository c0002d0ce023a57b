//! The setup of logging. A log line is one sentence with fields for queries, and never contains a
//! token.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The default level.
pub(crate) const DEFAULT_LEVEL: &str = "info";

/// The default filter: [`DEFAULT_LEVEL`] with an exception. The pool logs one line for each lost connection, and the server already logs
/// the cause.
const DEFAULT_FILTER: &str = "info,deadpool.postgres=error";

/// Log targets that stay at `info` unless `RUST_LOG` names them. The PostgreSQL driver logs
/// parameter values at `debug`, and one of them is a session id. The WebSocket library below
/// Socket.IO logs whole messages at `trace`, and a message may contain a token.
const SILENCED_TARGETS: [&str; 2] = ["tokio_postgres", "tungstenite"];

/// Parses the text of `RUST_LOG` and silences the targets it does not name. Returns `None` if the
/// text is invalid.
fn parse_filter(text: &str) -> Option<EnvFilter> {
    let silenced = SILENCED_TARGETS
        .iter()
        .filter(|name| !text.contains(**name))
        .map(|name| format!(",{name}=info"));
    EnvFilter::try_new(format!("{text}{}", silenced.collect::<String>())).ok()
}

/// Starts logging to standard error: readable text on a terminal, JSON otherwise. `filter` is the
/// value of `RUST_LOG` (default `info`).
///
/// Does nothing if the process already has a subscriber, as in tests.
pub fn init(filter: Option<&str>) {
    let filter = filter
        .and_then(parse_filter)
        .unwrap_or_else(|| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let _ = if std::io::stderr().is_terminal() {
        builder.try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_that_log_secrets_are_silenced_unless_named() {
        let filter_text = |text: &str| parse_filter(text).unwrap().to_string();
        for name in SILENCED_TARGETS {
            let silenced = format!("{name}=info");
            assert!(filter_text("debug").contains(&silenced));
            assert!(!filter_text(&format!("debug,{name}=trace")).contains(&silenced));
        }
        assert!(parse_filter("latido=what").is_none());
    }

    #[test]
    fn default_filter_is_valid() {
        let filter = EnvFilter::try_new(DEFAULT_FILTER).unwrap().to_string();
        assert!(
            filter.contains(DEFAULT_LEVEL) && filter.contains("deadpool.postgres=error"),
            "{filter}"
        );
    }
}
