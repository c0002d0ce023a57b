//! The subcommand `latido watch`: a client for the terminal. Rows go to standard output, everything
//! else to standard error.

mod connection;
mod output;
mod reconnect;
mod render;

use std::io::IsTerminal;

use anyhow::{Context, bail};
use latido::config::ConfigErrors;
use latido_base::backoff::Jitter;
use latido_net::Host;
use reqwest::Url;

use crate::cli::WatchArgs;
use crate::watch::connection::WatchClient;
use crate::watch::output::{OutputClosed, print_notice};
use crate::watch::reconnect::WatchDisconnect;
use crate::watch::render::RowRenderer;

const TOKEN_VARIABLE: &str = "LATIDO_TOKEN";

/// Watches a channel until interrupted, or until a permanent error.
pub(crate) fn run(args: WatchArgs) -> anyhow::Result<()> {
    let (url, token) = check_args(&args)?;
    if !is_encrypted_or_local(&url) {
        print_notice("the token goes over the network unencrypted; better wss://");
    }
    let view = RowRenderer::new(&args.channel, render::local_zone(), wants_colour());
    let client = WatchClient {
        url,
        token,
        channel: args.channel,
        as_json: args.json,
        renderer: view,
        is_subscribed: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            result = follow(client) => result,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}

async fn follow(mut client: WatchClient) -> anyhow::Result<()> {
    let mut attempt = 0;
    loop {
        let disconnect = match client.connect_and_follow(&mut attempt).await {
            Ok(disconnect) => disconnect,
            Err(OutputClosed::BrokenPipe) => return Ok(()),
            Err(OutputClosed::WriteFailed(error)) => return Err(error).context("standard output"),
        };
        match disconnect {
            WatchDisconnect::Permanent(reason) => bail!(reason),
            WatchDisconnect::Retry {
                reason,
                min_delay: after,
            } => {
                let bound = reconnect::RECONNECT_DELAYS.pause_after(attempt);
                let delay = Jitter::FULL.apply(bound, fastrand::f64()).max(after);
                attempt += 1;
                print_notice(&format!(
                    "{reason}; reconnecting in {:.1} s",
                    delay.as_secs_f64()
                ));
                tokio::time::sleep(delay).await;
            }
        }
    }
}

/// Checks the arguments and returns the URL and the token.
///
/// # Errors
/// Returns all errors together.
fn check_args(args: &WatchArgs) -> Result<(Url, String), ConfigErrors> {
    let mut errors = ConfigErrors::default();
    if args.channel.is_empty() {
        let expected = "expected a stream, with a key if it has one, such as ventas:7 or totales";
        errors.add("CHANNEL", expected);
    }
    let url = websocket_url(&args.url);
    if url.is_none() {
        errors.add("--url", "expected ws://host:port/ws or wss://…");
    }
    let token = args
        .token
        .clone()
        .or_else(|| std::env::var(TOKEN_VARIABLE).ok())
        .unwrap_or_default()
        .trim()
        .to_owned();
    if token.is_empty() {
        errors.add(
            TOKEN_VARIABLE,
            "missing; expected a token, here or as --token (latido token makes one)",
        );
    }
    url.filter(|_| errors.is_empty())
        .map(|url| (url, token))
        .ok_or(errors)
}

/// Parses the WebSocket URL. The path defaults to `/ws`.
fn websocket_url(text: &str) -> Option<Url> {
    let mut url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "ws" | "wss") && url.host_str().is_some())?;
    if url.path() == "/" {
        url.set_path("/ws");
    }
    Some(url)
}

fn is_encrypted_or_local(url: &Url) -> bool {
    let host = url.host_str().and_then(Host::parse);
    url.scheme() == "wss" || host.is_some_and(Host::is_loopback)
}

/// Returns `true` if output may use colours: a terminal without `NO_COLOR`
/// (<https://no-color.org>).
fn wants_colour() -> bool {
    std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch_args(channel: &str, url: &str, token: &str) -> WatchArgs {
        WatchArgs {
            channel: channel.into(),
            url: url.into(),
            token: Some(token.into()),
            json: false,
        }
    }

    #[test]
    fn urls_are_completed() {
        let url = |text| websocket_url(text).map(|url| url.to_string());
        assert_eq!(
            url("ws://127.0.0.1:8080").as_deref(),
            Some("ws://127.0.0.1:8080/ws")
        );
        assert_eq!(
            url("wss://a.example/live/ws?x=1").as_deref(),
            Some("wss://a.example/live/ws?x=1")
        );
        let private = [
            "ws://127.0.0.1",
            "ws://[::1]:1",
            "wss://a.example",
            "ws://a.example",
        ];
        assert_eq!(
            private.map(|text| is_encrypted_or_local(&websocket_url(text).unwrap())),
            [true, true, true, false]
        );
    }

    #[test]
    fn all_argument_mistakes_are_reported_together() {
        assert!(check_args(&watch_args("a:b", "ws://127.0.0.1:8080", "a.b.c")).is_ok());
        for url in ["", "http://a/ws", "127.0.0.1:8080"] {
            assert_eq!(
                check_args(&watch_args("", url, " "))
                    .unwrap_err()
                    .iter()
                    .count(),
                3,
                "{url}"
            );
        }
    }
}
