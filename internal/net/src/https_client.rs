//! The HTTP client for requests to other services: the machine's own root certificates, no
//! redirects, deadlines, and bodies of a limited size.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response, Url, redirect};

use crate::Host;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The properties of a client that depend on its use.
#[derive(Debug, Clone, Copy)]
pub struct HttpsClientOptions {
    /// The deadline for a whole response.
    pub timeout: Duration,
    /// The most idle connections to keep for each host.
    pub max_idle: usize,
    /// The value of the `User-Agent` header, if one is sent.
    pub user_agent: Option<&'static str>,
}

/// The reason why a client could not be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HttpsClientError {
    /// The system has no root certificates, so no certificate could be checked.
    #[error("the system has no root certificates (ca-certificates)")]
    NoRootCertificates,
    /// The TLS library or the HTTP library refused its configuration.
    #[error("the HTTPS client could not be configured")]
    Configuration,
}

/// Creates a client for requests to that URL. A connection without TLS or to this machine does not
/// go through a proxy: a proxy would see it in clear text.
///
/// # Errors
/// Returns an error if the URL needs root certificates and the system has none.
pub fn https_client(url: &Url, options: HttpsClientOptions) -> Result<Client, HttpsClientError> {
    let is_secure = url.scheme() == "https";
    let is_loopback = url
        .host_str()
        .and_then(Host::parse)
        .is_some_and(Host::is_loopback);
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(options.timeout)
        .pool_max_idle_per_host(options.max_idle)
        .https_only(is_secure)
        .tls_backend_preconfigured(tls_config(is_secure)?);
    if let Some(user_agent) = options.user_agent {
        builder = builder.user_agent(user_agent);
    }
    if is_loopback || !is_secure {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|_| HttpsClientError::Configuration)
}

/// Builds a rustls configuration on ring with the machine's own root certificates.
fn tls_config(needs_roots: bool) -> Result<rustls::ClientConfig, HttpsClientError> {
    let mut roots = rustls::RootCertStore::empty();
    if needs_roots {
        let (found, _) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if found == 0 {
            return Err(HttpsClientError::NoRootCertificates);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|_| HttpsClientError::Configuration)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The reason why a body could not be read. It never contains the URL, whose query may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The body is longer than the limit.
    #[error("longer than {max_bytes} bytes")]
    TooLong {
        /// The limit.
        max_bytes: usize,
    },
    /// The connection failed before the end of the body.
    #[error("{0}")]
    Http(#[source] reqwest::Error),
}

/// Reads the response's body of at most `max_bytes` bytes.
///
/// # Errors
/// Returns an error if the body is longer, or if the connection fails.
pub async fn read_body(mut response: Response, max_bytes: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    let failed = |error: reqwest::Error| BodyError::Http(error.without_url());
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > max_bytes {
            return Err(BodyError::TooLong { max_bytes });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Formats an error with its causes, because reqwest's own text lacks them.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut causes: Vec<_> = std::iter::successors(Some(error), |e| e.source())
        .map(ToString::to_string)
        .collect();
    causes.dedup();
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const OPTIONS: HttpsClientOptions = HttpsClientOptions {
        timeout: Duration::from_secs(5),
        max_idle: 0,
        user_agent: Some("latido/test"),
    };

    /// Serves one response and returns the request.
    async fn exchange(response: &str) -> (Result<Response, reqwest::Error>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/a", listener.local_addr().unwrap());
        let url: Url = url.parse().unwrap();
        let client = https_client(&url, OPTIONS).unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            stream.write_all(response.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        };
        tokio::join!(client.get(url).send(), serve)
    }

    #[tokio::test]
    async fn bodies_are_read_up_to_their_limit() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        let (response, request) = exchange(answer).await;
        assert!(request.contains("user-agent: latido/test"), "{request}");
        assert_eq!(read_body(response.unwrap(), 5).await.unwrap(), b"hello");
        let (response, _) = exchange(answer).await;
        let error = read_body(response.unwrap(), 4).await.unwrap_err();
        assert_eq!(error.to_string(), "longer than 4 bytes");
    }

    #[tokio::test]
    async fn redirects_are_not_followed() {
        let answer = "HTTP/1.1 302 Found\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n";
        let (response, _) = exchange(answer).await;
        assert_eq!(response.unwrap().status(), 302);
    }

    #[tokio::test]
    async fn broken_body_is_an_error_without_the_address() {
        let (response, _) = exchange("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhell").await;
        let error = read_body(response.unwrap(), 100).await.unwrap_err();
        let text = error_chain(&error);
        assert!(!text.is_empty() && !text.contains("127.0.0.1"), "{text}");
    }
}
