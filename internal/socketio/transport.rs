//! An Engine.IO service as a gate, with what the crate does otherwise than the protocol put right.
//!
//! - It pings a client as soon as the session is open, the protocol after `pingInterval`. So a session is opened for the client and its
//!   first ping answered here, before the client hears of it.
//! - A session that begins as a WebSocket is opened in the same way, and changes from polling to the WebSocket before the client hears of
//!   it: one way in, and one place where sessions are counted.
//! - A change to a WebSocket that breaks off leaves the session in between for ever: no ping, no end. So whatever socket is gone, its
//!   session is closed.
//! - It writes the protocol's error numbers as text.
//!
//! Two sockets of one client are not ordered: a poll that comes beside a change to a WebSocket waits a moment, so that what the client said
//! there before is seen first. And a client counts the ping interval from when it hears of it, so ours begins a moment earlier.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use std::{fmt, io};

use bytes::{Buf as _, Bytes};
use futures_util::future::BoxFuture;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::time::sleep;
use tower_service::Service;

use crate::drain::Drain;
use crate::protocol::Frame;
use crate::socketio::{Ask, Duplex, Gate, judge};

/// What a client sends to change from polling to a WebSocket, as masked frames (with a mask of zeros), and what it gets in between.
const PROBE: &[u8] = b"\x81\x86\0\0\0\x002probe\x81\x81\0\0\0\x005";
const PROBE_ANSWER: &[u8] = b"\x81\x063probe";

/// How much shorter than announced the ping interval should be; see [`Transport::new`].
pub const HEAD_START: Duration = Duration::from_millis(10);
/// How long a poll beside a change to a WebSocket waits, and for how long after its beginning.
const MOMENT: Duration = Duration::from_millis(10);
const CHANGE: Duration = Duration::from_secs(1);
/// Changes remembered at once; those beyond are not waited for.
const CHANGES: usize = 1024;

/// What answers requests and takes sockets; `socketioxide`'s service and `engineioxide`'s do.
pub trait Engine: Clone + Send + Sync + Unpin + 'static {
    /// Answers a request.
    fn ask(&self, request: Request<Full<Bytes>>) -> BoxFuture<'static, Response<Bytes>>;

    /// Takes a socket.
    fn take(&self, line: Box<dyn Duplex>, head: Request<()>);
}

impl<S, B, E> Engine for S
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>
        + Service<(Box<dyn Duplex>, Request<()>), Response = (), Error = E>
        + Clone
        + Send
        + Sync
        + Unpin
        + 'static,
    <S as Service<Request<Full<Bytes>>>>::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
{
    fn ask(&self, request: Request<Full<Bytes>>) -> BoxFuture<'static, Response<Bytes>> {
        let answered = Service::<Request<Full<Bytes>>>::call(&mut self.clone(), request);
        Box::pin(async move {
            let (parts, body) = answered
                .await
                .unwrap_or_else(|never| match never {})
                .into_parts();
            // Whole already: a poll is waited for above, and its body is bytes.
            let bytes = body
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes)
                .unwrap_or_default();
            let bytes = if parts.status == StatusCode::BAD_REQUEST {
                numbered(bytes)
            } else {
                bytes
            };
            Response::from_parts(parts, bytes)
        })
    }

    fn take(&self, line: Box<dyn Duplex>, head: Request<()>) {
        // The only error is a query that it can't read, and those were refused before the 101.
        drop(Service::<(Box<dyn Duplex>, Request<()>)>::call(
            &mut self.clone(),
            (line, head),
        ));
    }
}

/// See the module's documentation.
pub struct Transport<S> {
    service: S,
    path: &'static str,
    body_limit: usize,
    /// What clients are told.
    ping_interval: Duration,
    /// Sessions that lately asked for a WebSocket. Locked for one look-up.
    changing: Mutex<HashMap<Box<str>, Instant>>,
    drain: Drain,
}

impl<S: Engine> Transport<S> {
    /// `service` answers below `path`, takes packets of `body_limit` bytes, and pings [`HEAD_START`] earlier than `ping_interval` says.
    pub fn new(
        service: S,
        path: &'static str,
        body_limit: usize,
        ping_interval: Duration,
        drain: &Drain,
    ) -> Self {
        Self {
            service,
            path,
            body_limit,
            ping_interval,
            changing: Mutex::default(),
            drain: drain.clone(),
        }
    }

    fn note_change(&self, sid: &str) {
        let mut changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if changing.len() >= CHANGES {
            changing.retain(|_, since| since.elapsed() < CHANGE);
        }
        if changing.len() < CHANGES {
            changing.insert(sid.into(), Instant::now());
        }
    }

    fn is_changing(&self, sid: &str) -> bool {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        changing
            .get(sid)
            .is_some_and(|since| since.elapsed() < CHANGE)
    }
}

impl<S: Engine> Gate for Transport<S> {
    fn has(&self, path: &str) -> bool {
        path.strip_prefix(self.path)
            .is_some_and(|rest| rest.is_empty() || rest == "/")
    }

    fn body_limit(&self) -> usize {
        self.body_limit
    }

    fn judge(&self, head: &Parts) -> Result<Ask, Box<Response<Bytes>>> {
        let ask = judge(head)?;
        if let Some(sid) =
            value(head.uri.query().unwrap_or_default(), "sid").filter(|_| ask.websocket)
        {
            self.note_change(sid);
        }
        Ok(ask)
    }

    fn answer(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        let (head, body) = request.into_parts();
        if judge(&head).is_ok_and(|ask| ask.opens) {
            let (service, interval) = (self.service.clone(), self.ping_interval);
            let opened = async move { open(&service, head, interval).await };
            return Box::pin(async {
                opened
                    .await
                    .map_or_else(|refused| refused, |(_, response)| response)
            });
        }
        let beside = head.method == Method::GET
            && value(head.uri.query().unwrap_or_default(), "sid")
                .is_some_and(|sid| self.is_changing(sid));
        let service = self.service.clone();
        Box::pin(async move {
            if beside {
                sleep(MOMENT).await;
            }
            service
                .ask(Request::from_parts(head, Full::new(body)))
                .await
        })
    }

    fn adopt(&self, line: Box<dyn Duplex>, head: Request<()>) {
        let (service, drain) = (self.service.clone(), self.drain.clone());
        let (parts, ()) = head.into_parts();
        if let Some(sid) = value(parts.uri.query().unwrap_or_default(), "sid") {
            let end = End {
                service: service.clone(),
                path: self.path,
                sid: sid.into(),
                drain,
            };
            let prelude = Prelude {
                line,
                said: Bytes::new(),
                to_skip: 0,
                greeting: Bytes::new(),
                _end: end,
            };
            return service.take(Box::new(prelude), Request::from_parts(parts, ()));
        }
        let (path, interval) = (self.path, self.ping_interval);
        self.drain.spawn(async move {
            let Ok((sid, response)) = open(&service, parts.clone(), interval).await else {
                return;
            };
            let greeting = String::from_utf8_lossy(response.body())
                .replace(r#""upgrades":["websocket"]"#, r#""upgrades":[]"#);
            let end = End {
                service: service.clone(),
                path,
                sid: Arc::clone(&sid),
                drain,
            };
            let prelude = Prelude {
                line,
                said: Bytes::from_static(PROBE),
                to_skip: PROBE_ANSWER.len(),
                greeting: Bytes::copy_from_slice(Frame::text(&greeting).as_bytes()),
                _end: end,
            };
            let head = request(path, &sid, "websocket", Method::GET, ());
            service.take(Box::new(prelude), head);
        });
    }
}

/// Opens a session with the head of a request, which it keeps, and answers its first ping. An error is the answer.
async fn open<S: Engine>(
    service: &S,
    mut head: Parts,
    interval: Duration,
) -> Result<(Arc<str>, Response<Bytes>), Response<Bytes>> {
    let query = head.uri.query().unwrap_or_default();
    let rest = query
        .split('&')
        .filter(|pair| !pair.starts_with("transport=") && !pair.starts_with("EIO="));
    let target = rest.fold(
        format!("{}?EIO=4&transport=polling", head.uri.path()),
        |target, pair| target + "&" + pair,
    );
    let path = head.uri.path().to_owned();
    if let Ok(target) = PathAndQuery::try_from(target) {
        head.uri = Uri::from(target);
    }
    let response = service
        .ask(Request::from_parts(head, Full::default()))
        .await;
    let sid: Option<Arc<str>> = sid(response.body()).map(Into::into);
    let Some(sid) = sid else { return Err(response) };
    service
        .ask(request(
            &path,
            &sid,
            "polling",
            Method::GET,
            Full::default(),
        ))
        .await;
    service
        .ask(request(
            &path,
            &sid,
            "polling",
            Method::POST,
            Full::from("3"),
        ))
        .await;
    Ok((sid, announced(response, interval)))
}

/// An open packet with the interval that clients are told. A header with the length is no longer true, then.
fn announced(response: Response<Bytes>, interval: Duration) -> Response<Bytes> {
    let told = format!(r#""pingInterval":{}"#, interval.as_millis());
    let done = format!(
        r#""pingInterval":{}"#,
        interval.saturating_sub(HEAD_START).as_millis()
    );
    let (mut head, body) = response.into_parts();
    let body = String::from_utf8_lossy(&body).replace(&done, &told);
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, body.into())
}

/// A request of our own to a session.
fn request<B>(path: &str, sid: &str, transport: &str, method: Method, body: B) -> Request<B> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    if let Ok(target) =
        PathAndQuery::try_from(format!("{path}?EIO=4&transport={transport}&sid={sid}"))
    {
        *request.uri_mut() = Uri::from(target);
    }
    request
}

fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The session's name in an open packet.
fn sid(packet: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(packet)
        .ok()?
        .strip_prefix(r#"0{"sid":""#)?;
    text.split_once('"').map(|(sid, _)| sid)
}

/// The crate writes the protocol's error numbers as text; clients compare them with numbers.
fn numbered(body: Bytes) -> Bytes {
    match body.strip_prefix(br#"{"code":""#) {
        Some([digit @ b'0'..=b'9', b'"', rest @ ..]) => {
            [br#"{"code":"#, std::slice::from_ref(digit), rest]
                .concat()
                .into()
        }
        _ => body,
    }
}

impl<S> fmt::Debug for Transport<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Closes a session when its socket is dropped, in whatever state that left it. One that is closed already does not mind.
struct End<S: Engine> {
    service: S,
    path: &'static str,
    sid: Arc<str>,
    drain: Drain,
}

impl<S: Engine> Drop for End<S> {
    fn drop(&mut self) {
        if Handle::try_current().is_ok() {
            let asked = self.service.ask(request(
                self.path,
                &self.sid,
                "polling",
                Method::POST,
                Full::from("1"),
            ));
            self.drain.spawn(async move { drop(asked.await) });
        }
    }
}

/// A socket of which the beginning is played: first `said` is read from it, and instead of the first `to_skip` bytes the greeting is written.
struct Prelude<S: Engine> {
    line: Box<dyn Duplex>,
    said: Bytes,
    to_skip: usize,
    greeting: Bytes,
    _end: End<S>,
}

impl<S: Engine> Prelude<S> {
    fn poll_greet(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.to_skip == 0 && !self.greeting.is_empty() {
            match Pin::new(&mut self.line).poll_write(context, &self.greeting) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => self.greeting.advance(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Engine> AsyncRead for Prelude<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.said.is_empty() {
            return Pin::new(&mut self.line).poll_read(context, into);
        }
        let count = self.said.len().min(into.remaining());
        into.put_slice(&self.said.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: Engine> AsyncWrite for Prelude<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.to_skip > 0 {
            let count = self.to_skip.min(bytes.len());
            self.to_skip -= count;
            return Poll::Ready(Ok(count));
        }
        match self.poll_greet(context) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.line).poll_write(context, bytes),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_greet(context) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.line).poll_flush(context),
            other => other,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_are_numbers() {
        let fixed = numbered(Bytes::from_static(
            br#"{"code":"1","message":"Session ID unknown"}"#,
        ));
        assert_eq!(fixed, r#"{"code":1,"message":"Session ID unknown"}"#);
        for other in ["", "ok", r#"{"code":1}"#] {
            assert_eq!(numbered(other.into()), other);
        }
    }

    #[test]
    fn a_sessions_name_is_found() {
        assert_eq!(sid(br#"0{"sid":"abc","upgrades":[]}"#), Some("abc"));
        assert_eq!(sid(br#"{"code":1}"#), None);
        assert_eq!(
            (value("a=1&sid=x", "sid"), value("side=x", "sid")),
            (Some("x"), None)
        );
    }

    #[test]
    fn clients_are_told_the_whole_interval() {
        let packet = r#"0{"sid":"a","pingInterval":290,"pingTimeout":290}"#;
        let told = announced(Response::new(packet.into()), Duration::from_millis(300));
        assert_eq!(
            told.body(),
            r#"0{"sid":"a","pingInterval":300,"pingTimeout":290}"#
        );
    }

    #[test]
    fn the_probe_is_two_frames() {
        assert_eq!(PROBE_ANSWER, Frame::text("3probe").as_bytes());
        assert_eq!(PROBE.len(), 6 + "2probe".len() + 6 + "5".len());
    }
}
