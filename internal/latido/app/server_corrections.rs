//! What running servers counted: changes of streams that no notification announced. Only a server
//! sees them, and it writes nothing to the database, so `latido doctor --server` reads its metrics.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::{StatusCode, Url};

use latido_net::{HttpsClientOptions, error_chain, https_client, read_body};
use latido_postgres::Finding;
use latido_stream::is_name;

/// The deadline for a whole response.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest response that is read, in bytes.
const MAX_METRICS_BYTES: usize = 4 << 20;

/// The beginning of each line with the corrections of a stream. The name follows, and the count.
const CORRECTIONS: &str = "latido_stream_corrections_total{stream=\"";

const REMEDY: &str = "\
`latido doctor --lookups` tries to find the keys that the entries of the stream's tables miss. Else it is what \
reaches no trigger:
a table that the query reads and `tables` does not list; DISABLE TRIGGER or session_replication_role = replica;
a query that depends on the time; or what docs/limitations.md lists";

/// The base address of a server, such as `http://127.0.0.1:8080`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress(Url);

/// The error for a text that is no address of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the address of a server, such as http://127.0.0.1:8080, without user or password"
)]
pub struct InvalidServerAddress;

impl ServerAddress {
    /// Reads the address of a server. A path before `/metrics` is kept, and `/metrics` itself may be
    /// there or not.
    ///
    /// # Errors
    /// Returns an error if the text is no http or https address, or contains credentials.
    pub fn parse(text: &str) -> Result<Self, InvalidServerAddress> {
        let mut url = Url::parse(text).map_err(|_| InvalidServerAddress)?;
        let is_plain = url.username().is_empty() && url.password().is_none();
        let is_web = matches!(url.scheme(), "http" | "https") && url.host().is_some();
        if !is_plain || !is_web || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidServerAddress);
        }
        let base = url.path().trim_end_matches('/');
        let base = base.strip_suffix("/metrics").unwrap_or(base).to_owned();
        url.set_path(&base);
        Ok(Self(url))
    }

    fn metrics(&self) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}/metrics", url.path().trim_end_matches('/')));
        url
    }
}

/// Asks running servers for the changes that only their sweeps found. Returns a finding for each
/// stream of a server that has any, or one that says that it has none.
pub async fn examine_servers(servers: &[ServerAddress]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for server in servers {
        findings.extend(examine(server).await);
    }
    findings
}

async fn examine(server: &ServerAddress) -> Vec<Finding> {
    let subject = format!("server {}", server.0.as_str().trim_end_matches('/'));
    let text = match fetch_metrics(&server.metrics()).await {
        Ok(text) => text,
        Err(problem) => {
            let remedy = "expected the address of `latido serve`, with METRICS on, past a proxy that denies /metrics";
            return vec![Finding::failure(subject, error_chain(problem.as_ref())).remedy(remedy)];
        }
    };
    let Some(counts) = corrections_of_streams(&text) else {
        let detail = "it is no Latido, or an older one: it does not count corrections by stream";
        return vec![Finding::failure(subject, detail)];
    };
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    let findings = counts.map(|(stream, count)| {
        let detail = format!(
            "since it started, the server at {} found {count} changes by its sweep alone: no notification announced them",
            server.0.as_str().trim_end_matches('/')
        );
        Finding::warning(format!("stream {stream}: corrections"), detail).remedy(REMEDY)
    });
    let findings: Vec<_> = findings.collect();
    match findings.is_empty() {
        true => vec![Finding::ok(
            subject,
            "since it started, notifications announced every change of its streams",
        )],
        false => findings,
    }
}

/// Returns the metrics of a server.
async fn fetch_metrics(url: &Url) -> anyhow::Result<String> {
    let options = HttpsClientOptions {
        timeout: TIMEOUT,
        max_idle: 0,
        user_agent: Some("latido"),
    };
    let client = https_client(url, options)?;
    let response = client.get(url.clone()).send().await;
    let response = response.map_err(reqwest::Error::without_url);
    let response = response.context("it does not answer")?;
    let status = response.status();
    ensure!(
        status == StatusCode::OK,
        "/metrics answers {}; expected 200",
        status.as_u16()
    );
    let body = read_body(response, MAX_METRICS_BYTES).await;
    let body = body.context("its /metrics cannot be read")?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Returns the corrections of each stream, or `None` if the text has no such metric.
fn corrections_of_streams(metrics: &str) -> Option<Vec<(&str, u64)>> {
    let lines = metrics.lines();
    let counts: Vec<_> = lines.filter_map(stream_corrections).collect();
    (!counts.is_empty()).then_some(counts)
}

fn stream_corrections(line: &str) -> Option<(&str, u64)> {
    let (stream, count) = line.strip_prefix(CORRECTIONS)?.split_once("\"} ")?;
    // The text comes from another program: nothing else of it is printed.
    Some((stream, count.parse().ok()?)).filter(|_| is_name(stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_servers() {
        for (text, metrics) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/metrics"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/metrics"),
            ("http://[::1]:8080/metrics", "http://[::1]:8080/metrics"),
            ("https://a.example/live/", "https://a.example/live/metrics"),
        ] {
            let address = ServerAddress::parse(text).map(|server| server.metrics().to_string());
            assert_eq!(address.as_deref(), Ok(metrics), "{text}");
        }
        for text in [
            "",
            "8080",
            "localhost:8080",
            "ftp://a.example",
            "http://ana:secret@a.example",
            "http://a.example/?token=x",
        ] {
            assert_eq!(
                ServerAddress::parse(text),
                Err(InvalidServerAddress),
                "{text}"
            );
        }
    }

    #[test]
    fn corrections_are_those_of_streams() {
        let text = "# TYPE latido_stream_corrections_total counter\n\
                    latido_stream_corrections_total{stream=\"ventas\"} 3\n\
                    latido_stream_corrections_total{stream=\"citas_hoy\"} 0\n\
                    latido_stream_corrections_total{stream=\"a\u{1b}[2J\"} 1\n\
                    latido_corrections_total 4\n";
        let counts = corrections_of_streams(text);
        assert_eq!(counts, Some(vec![("ventas", 3), ("citas_hoy", 0)]));
        assert_eq!(corrections_of_streams("latido_corrections_total 4\n"), None);
    }
}
