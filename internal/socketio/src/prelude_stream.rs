//! An upgraded socket of a session: it simulates the beginning that the client does not see, and
//! closes the session when it is dropped.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::Method;
use http_body_util::Full;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;

use crate::DuplexStream;
use crate::engineio_service::EngineIoService;
use crate::handshake::session_request;
use latido_base::drain::Drain;
use latido_protocol::Frame;

/// The masked frames (with a zero mask) that a client sends to upgrade from polling to a WebSocket,
/// and the server's answer to the first.
const PROBE: &[u8] = b"\x81\x86\0\0\0\x002probe\x81\x81\0\0\0\x005";
const PROBE_RESPONSE: &[u8] = b"\x81\x063probe";

/// Closes a session when its socket is dropped, in any state. Closing a closed session has no
/// effect.
pub(super) struct SessionGuard<S: EngineIoService> {
    pub(super) service: S,
    pub(super) path: &'static str,
    pub(super) sid: Arc<str>,
    pub(super) drain: Drain,
}

impl<S: EngineIoService> Drop for SessionGuard<S> {
    fn drop(&mut self) {
        if Handle::try_current().is_ok() {
            let closing = self.service.send_request(session_request(
                self.path,
                &self.sid,
                "polling",
                Method::POST,
                Full::from("1"),
            ));
            self.drain.spawn(async move { drop(closing.await) });
        }
    }
}

/// A socket with a simulated beginning. First `replayed` is read from it, and the handshake packet
/// replaces the first `to_skip` bytes that are written.
pub(super) struct PreludeStream<S: EngineIoService> {
    stream: Box<dyn DuplexStream>,
    replayed: Bytes,
    to_skip: usize,
    handshake: Bytes,
    _guard: SessionGuard<S>,
}

impl<S: EngineIoService> PreludeStream<S> {
    /// Wraps a socket of a session that the client has opened by polling.
    pub(super) fn upgraded(stream: Box<dyn DuplexStream>, guard: SessionGuard<S>) -> Self {
        Self {
            stream,
            replayed: Bytes::new(),
            to_skip: 0,
            handshake: Bytes::new(),
            _guard: guard,
        }
    }

    /// Wraps a socket whose session was opened for the client. The service sees an upgrade, and the
    /// client sees the handshake.
    pub(super) fn opened(
        stream: Box<dyn DuplexStream>,
        handshake: &str,
        guard: SessionGuard<S>,
    ) -> Self {
        Self {
            stream,
            replayed: Bytes::from_static(PROBE),
            to_skip: PROBE_RESPONSE.len(),
            handshake: Bytes::copy_from_slice(Frame::text(handshake).as_bytes()),
            _guard: guard,
        }
    }

    fn poll_write_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.to_skip == 0 && !self.handshake.is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, &self.handshake) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => self.handshake.advance(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: EngineIoService> AsyncRead for PreludeStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.replayed.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, into);
        }
        let count = self.replayed.len().min(into.remaining());
        into.put_slice(&self.replayed.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: EngineIoService> AsyncWrite for PreludeStream<S> {
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
        match self.poll_write_handshake(context) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.stream).poll_write(context, bytes),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_write_handshake(context) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.stream).poll_flush(context),
            other => other,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_has_two_frames() {
        assert_eq!(PROBE_RESPONSE, Frame::text("3probe").as_bytes());
        assert_eq!(PROBE.len(), 6 + "2probe".len() + 6 + "5".len());
    }
}
