//! The Engine.IO service behind a mount, and the requests that the mount makes itself.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use tower_service::Service;

use latido_http::DuplexStream;

/// A service that answers requests and takes over sockets, such as those of `socketioxide` and
/// `engineioxide`.
pub trait EngineIoService: Clone + Send + Sync + Unpin + 'static {
    /// Sends a request to the service.
    fn send_request(&self, request: Request<Full<Bytes>>) -> BoxFuture<'static, Response<Bytes>>;

    /// Passes an upgraded socket to the service.
    fn take_upgraded(&self, stream: Box<dyn DuplexStream>, head: Request<()>);
}

impl<S, B, E> EngineIoService for S
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>
        + Service<(Box<dyn DuplexStream>, Request<()>), Response = (), Error = E>
        + Clone
        + Send
        + Sync
        + Unpin
        + 'static,
    <S as Service<Request<Full<Bytes>>>>::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
{
    fn send_request(&self, request: Request<Full<Bytes>>) -> BoxFuture<'static, Response<Bytes>> {
        let response = Service::<Request<Full<Bytes>>>::call(&mut self.clone(), request);
        Box::pin(async move {
            let (parts, body) = response
                .await
                .unwrap_or_else(|never| match never {})
                .into_parts();
            // The body is complete: the future above waits for a poll's data, and its body is
            // bytes.
            let bytes = body
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes)
                .unwrap_or_default();
            let bytes = if parts.status == StatusCode::BAD_REQUEST {
                fix_error_code(bytes)
            } else {
                bytes
            };
            Response::from_parts(parts, bytes)
        })
    }

    fn take_upgraded(&self, stream: Box<dyn DuplexStream>, head: Request<()>) {
        // The only error is an unreadable query, and such requests were rejected before the 101.
        drop(Service::<(Box<dyn DuplexStream>, Request<()>)>::call(
            &mut self.clone(),
            (stream, head),
        ));
    }
}

/// Creates an internal request to a session.
pub(super) fn session_request<B>(
    path: &str,
    sid: &str,
    transport: &str,
    method: Method,
    body: B,
) -> Request<B> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    if let Ok(target) =
        PathAndQuery::try_from(format!("{path}?EIO=4&transport={transport}&sid={sid}"))
    {
        *request.uri_mut() = Uri::from(target);
    }
    request
}

/// Turns the error number in a response into a JSON number. The crate writes it as text, but
/// clients compare numbers.
fn fix_error_code(body: Bytes) -> Bytes {
    match body.strip_prefix(br#"{"code":""#) {
        Some([digit @ b'0'..=b'9', b'"', rest @ ..]) => {
            [br#"{"code":"#, std::slice::from_ref(digit), rest]
                .concat()
                .into()
        }
        _ => body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_become_json_numbers() {
        let fixed = fix_error_code(Bytes::from_static(
            br#"{"code":"1","message":"Session ID unknown"}"#,
        ));
        assert_eq!(fixed, r#"{"code":1,"message":"Session ID unknown"}"#);
        for other in ["", "ok", r#"{"code":1}"#] {
            assert_eq!(fix_error_code(other.into()), other);
        }
    }
}
