//! One sentence for people, fields for queries; never a token.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The pool's own word on a connection that is gone, one line each, is no news beside ours.
const DEFAULT: &str = "info,deadpool.postgres=error";

/// The driver logs the values of parameters at `debug`, and a session's id is one; what carries Socket.IO logs whole messages at `trace`, and a
/// token may be in one. They are heard only where somebody asks for them by name.
const QUIET: [&str; 2] = ["tokio_postgres", "tungstenite"];

/// The filter that a `RUST_LOG` means; None if it is none.
fn understood(text: &str) -> Option<EnvFilter> {
    let unnamed = QUIET
        .iter()
        .filter(|name| !text.contains(**name))
        .map(|name| format!(",{name}=info"));
    EnvFilter::try_new(format!("{text}{}", unnamed.collect::<String>())).ok()
}

/// Starts logging to standard error: readable on a terminal, JSON otherwise. `filter` is what `RUST_LOG` says (default `info`).
///
/// Does nothing when the process has a subscriber already, as in tests.
pub fn init(filter: Option<&str>) {
    let filter = filter
        .and_then(understood)
        .unwrap_or_else(|| EnvFilter::new(DEFAULT));
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
    fn what_others_log_of_secrets_is_heard_only_by_name() {
        let shown = |text: &str| understood(text).unwrap().to_string();
        for name in QUIET {
            let quiet = format!("{name}=info");
            assert!(shown("debug").contains(&quiet));
            assert!(!shown(&format!("debug,{name}=trace")).contains(&quiet));
        }
        assert!(understood("latido=what").is_none());
    }

    #[test]
    fn the_default_filter_is_understood() {
        let filter = EnvFilter::try_new(DEFAULT).unwrap().to_string();
        assert!(
            filter.contains("info") && filter.contains("deadpool.postgres=error"),
            "{filter}"
        );
    }
}
