//! `latido watch`: a client for the terminal. Numbers go to standard output, everything else to standard error.

mod connection;
mod endings;
mod view;

use std::io::{ErrorKind, IsTerminal, Write};

use anyhow::{Context, bail};
use latido::config::Mistakes;
use reqwest::Url;

use crate::cli::WatchWish;
use crate::watch::connection::{Client, Quit};
use crate::watch::endings::Ending;
use crate::watch::view::View;

const TOKEN: &str = "LATIDO_TOKEN";

/// Watches until interrupted, or until coming back makes no sense.
pub(crate) fn run(wish: WatchWish) -> anyhow::Result<()> {
    let (url, token) = check(&wish)?;
    if !is_private(&url) {
        say("the token goes over the network unencrypted; better wss://");
    }
    let view = View::new(&wish.channel, view::local_zone(), is_colourful());
    let client = Client {
        url,
        token,
        channel: wish.channel,
        as_json: wish.json,
        view,
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

async fn follow(mut client: Client) -> anyhow::Result<()> {
    let mut attempt = 0;
    loop {
        let ending = match client.connect_and_follow(&mut attempt).await {
            Ok(ending) => ending,
            Err(Quit::ReaderLeft) => return Ok(()),
            Err(Quit::Output(error)) => return Err(error).context("standard output"),
        };
        match ending {
            Ending::ForGood(reason) => bail!(reason),
            Ending::ForNow { reason, after } => {
                let wait = endings::wait(attempt, fastrand::f64()).max(after);
                attempt += 1;
                say(&format!(
                    "{reason}; reconnecting in {:.1} s",
                    wait.as_secs_f64()
                ));
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// Where to connect and with which token, or all that is wrong with the wish.
fn check(wish: &WatchWish) -> Result<(Url, String), Mistakes> {
    let mut mistakes = Mistakes::default();
    if !wish.channel.contains(':') {
        mistakes.add(
            "CHANNEL",
            "expected a stream and a key, such as estadisticas:negocio_123",
        );
    }
    let url = websocket_url(&wish.url);
    if url.is_none() {
        mistakes.add("--url", "expected ws://host:port/ws or wss://…");
    }
    let token = wish
        .token
        .clone()
        .or_else(|| std::env::var(TOKEN).ok())
        .unwrap_or_default()
        .trim()
        .to_owned();
    if token.is_empty() {
        mistakes.add(
            TOKEN,
            "missing; expected a token, here or as --token (latido token makes one)",
        );
    }
    url.filter(|_| mistakes.is_empty())
        .map(|url| (url, token))
        .ok_or(mistakes)
}

/// The address to connect to; `/ws` unless it says otherwise.
fn websocket_url(text: &str) -> Option<Url> {
    let mut url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "ws" | "wss") && url.host_str().is_some())?;
    if url.path() == "/" {
        url.set_path("/ws");
    }
    Some(url)
}

fn is_private(url: &Url) -> bool {
    url.scheme() == "wss" || matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// <https://no-color.org>
fn is_colourful() -> bool {
    std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Tells the person at the terminal.
fn say(text: &str) {
    // Whoever closed it does not want to know.
    let _ = writeln!(std::io::stderr(), "latido: {text}");
}

/// One line for whoever reads the numbers.
fn print(line: &str) -> Result<(), Quit> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Quit::ReaderLeft,
            _ => Quit::Output(error),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(channel: &str, url: &str, token: &str) -> WatchWish {
        WatchWish {
            channel: channel.into(),
            url: url.into(),
            token: Some(token.into()),
            json: false,
        }
    }

    #[test]
    fn addresses_are_completed() {
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
            private.map(|text| is_private(&websocket_url(text).unwrap())),
            [true, true, true, false]
        );
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        assert!(check(&wish("a:b", "ws://127.0.0.1:8080", "a.b.c")).is_ok());
        for url in ["", "http://a/ws", "127.0.0.1:8080"] {
            assert_eq!(
                check(&wish("a", url, " ")).unwrap_err().iter().count(),
                3,
                "{url}"
            );
        }
    }
}
