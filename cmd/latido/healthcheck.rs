//! The subcommand `latido healthcheck`: one request with little more than the standard library,
//! since it runs every few seconds.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use reqwest::Url;
use rustls::{ClientConnection, StreamOwned};

use crate::pinned_tls::pinned_tls_config;

/// The time limit for connecting and for each read and write.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Requests `url`, or `/health` at the address that the server listens on. With `certificates` it
/// uses TLS and trusts only the server's own certificate.
pub(crate) fn run(
    url: Option<&str>,
    host: IpAddr,
    port: u16,
    certificates: Option<&Path>,
) -> anyhow::Result<()> {
    let certificates = certificates.filter(|_| url.is_none());
    let (address, authority, target) = match url {
        Some(url) => parse_url(url)?,
        None => {
            ensure!(port != 0, "PORT is 0, which means any; expected --url");
            let address = SocketAddr::new(connectable_address(host), port);
            (address, address.to_string(), "/health".to_owned())
        }
    };
    let status = request_status(address, &authority, &target, certificates)
        .with_context(|| format!("no answer from {address}"))?;
    ensure!(status == 200, "{address} answered {status}; expected 200");
    Ok(())
}

/// Replaces an unspecified address by loopback, because not every system can connect to the former.
fn connectable_address(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

fn parse_url(url: &str) -> anyhow::Result<(SocketAddr, String, String)> {
    let url = Url::parse(url)
        .ok()
        .filter(|url| url.scheme() == "http")
        .context("--url: expected http://host:port/path")?;
    let Some(host) = url.host_str() else {
        bail!("--url: expected a host")
    };
    let port = url.port_or_known_default().unwrap_or(80);
    let address_text = host.trim_start_matches('[').trim_end_matches(']');
    let address = (address_text, port)
        .to_socket_addrs()?
        .next()
        .with_context(|| format!("--url: {host} has no address"))?;
    let target = url.query().map_or_else(
        || url.path().to_owned(),
        |query| format!("{}?{query}", url.path()),
    );
    Ok((address, format!("{host}:{port}"), target))
}

/// Returns the HTTP status of the response.
fn request_status(
    address: SocketAddr,
    authority: &str,
    target: &str,
    certificates: Option<&Path>,
) -> anyhow::Result<u16> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    match certificates {
        None => exchange(stream, authority, target),
        Some(path) => {
            let client = ClientConnection::new(pinned_tls_config(path)?, address.ip().into())?;
            exchange(StreamOwned::new(client, stream), authority, target)
        }
    }
}

fn exchange(mut stream: impl Read + Write, authority: &str, target: &str) -> anyhow::Result<u16> {
    let request = format!(
        "GET {target} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: latido\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    // The status line begins with "HTTP/1.1 200"; the rest is not needed.
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let status = std::str::from_utf8(&head)?
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..))
        .and_then(|s| s.parse().ok());
    status.context("the response is not from an HTTP server")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Starts a server that sends one response, and returns its address.
    fn server(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer.as_bytes());
        });
        address
    }

    #[test]
    fn only_200_is_healthy() {
        let ask = |answer| {
            let address = server(answer);
            run(None, Ipv4Addr::UNSPECIFIED.into(), address.port(), None)
                .map_err(|error| format!("{error:#}"))
        };
        assert_eq!(ask("HTTP/1.1 200 OK\r\n\r\n"), Ok(()));
        assert!(
            ask("HTTP/1.1 503 Service Unavailable\r\n\r\n")
                .unwrap_err()
                .contains("answered 503")
        );
        assert!(
            ask("SSH-2.0-OpenSSH_9\r\n")
                .unwrap_err()
                .contains("not from an HTTP server")
        );
        assert!(ask("").is_err());
        let url = format!(
            "http://localhost:{}/health?x=1",
            server("HTTP/1.1 200 OK\r\n\r\n").port()
        );
        assert!(run(Some(&url), Ipv4Addr::LOCALHOST.into(), 0, None).is_ok());
    }

    #[test]
    fn invalid_urls_are_reported() {
        for url in ["", "https://a.example/", "a.example", "http://"] {
            assert!(
                format!(
                    "{:#}",
                    run(Some(url), Ipv4Addr::LOCALHOST.into(), 0, None).unwrap_err()
                )
                .contains("--url"),
                "{url}"
            );
        }
        assert!(run(None, Ipv4Addr::LOCALHOST.into(), 0, None).is_err());
        assert_eq!(
            connectable_address(Ipv6Addr::UNSPECIFIED.into()),
            IpAddr::V6(Ipv6Addr::LOCALHOST)
        );
    }
}
