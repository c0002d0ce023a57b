//! What a session keeps of the request that opened it.

use std::net::SocketAddr;

use http::request::Parts;

use latido_http::PeerAddress;

/// The parameters that belong to the transport, and are of no use for an app.
const TRANSPORT_PARAMETERS: [&str; 6] = ["EIO", "transport", "sid", "t", "b64", "j"];

/// The parts of a session's first request that its apps read: a few headers, the query and the
/// address. All other headers are dropped, because they take more memory than the session.
#[derive(Debug, Default)]
pub struct RequestInfo {
    /// The query, and a line `name:value` for each header. One text, because every session keeps
    /// it.
    lines: Box<str>,
    peer: Option<SocketAddr>,
}

impl RequestInfo {
    /// Keeps the query, the address and these headers of a request.
    pub(crate) fn new(head: &Parts, headers: &[&'static str]) -> Self {
        let query = head.uri.query().unwrap_or_default();
        let of_app = |parameter: &&str| {
            let name = parameter.split('=').next().unwrap_or_default();
            !TRANSPORT_PARAMETERS.contains(&name)
        };
        let parameters: Vec<_> = query.split('&').filter(of_app).collect();
        let mut lines = parameters.join("&");
        for name in headers {
            let value = head.headers.get(*name);
            if let Some(value) = value.and_then(|value| value.to_str().ok()) {
                lines.extend(["\n", name, ":", value]);
            }
        }
        Self {
            lines: lines.into(),
            peer: head.extensions.get().map(|PeerAddress(address)| *address),
        }
    }

    /// Returns a header that an app [keeps](crate::SocketIoApp::kept_headers), or `None` if it is
    /// missing or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.lines.split('\n').skip(1);
        let mut headers = lines.filter_map(|line| line.split_once(':'));
        headers.find_map(|(known, value)| (known == name).then_some(value))
    }

    /// Returns the query, without the question mark and without the parameters of the transport.
    pub fn query(&self) -> &str {
        self.lines.split('\n').next().unwrap_or_default()
    }

    /// Returns the address of the client.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn query_and_headers_are_kept_without_what_belongs_to_the_transport() {
        let request = Request::builder()
            .uri("/socket.io/?EIO=4&transport=websocket&token=a%0Ab&t=x&tab=1&=&&sid")
            .header("host", "a.example:80")
            .header("origin", "https://a.example")
            .header("accept", "*/*");
        let (head, ()) = request.body(()).unwrap().into_parts();
        let info = RequestInfo::new(&head, &["cookie", "origin", "host"]);
        assert_eq!(info.query(), "token=a%0Ab&tab=1&=&");
        assert_eq!(info.header("host"), Some("a.example:80"));
        assert_eq!(info.header("origin"), Some("https://a.example"));
        assert_eq!(info.header("cookie"), None);
        assert_eq!(info.header("accept"), None);
        let empty = RequestInfo::default();
        assert_eq!((empty.query(), empty.header("host")), ("", None));
    }
}
