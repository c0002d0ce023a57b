//! A socket with a simulated beginning, which closes its session when it is dropped.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::Method;
use http_body_util::Full;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;

use crate::engineio_service::{EngineIoService, session_request};
use latido_base::drain::Drain;
use latido_http::DuplexStream;

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
    pub(super) stream: Box<dyn DuplexStream>,
    pub(super) replayed: Bytes,
    pub(super) to_skip: usize,
    pub(super) handshake: Bytes,
    pub(super) _guard: SessionGuard<S>,
}

impl<S: EngineIoService> PreludeStream<S> {
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
