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
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::engineio_service::{EngineIoService, session_request};
use crate::session_meter::SessionMeter;
use latido_base::drain::Drain;
use latido_http::DuplexStream;
use latido_protocol::websocket::{FrameCount, FrameCounter};

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
/// replaces the first `to_skip` bytes that are written. The session's meter counts what is read.
pub(super) struct PreludeStream<S: EngineIoService> {
    stream: Box<dyn DuplexStream>,
    replayed: Bytes,
    to_skip: usize,
    handshake: Bytes,
    meter: Option<StreamMeter>,
    _guard: SessionGuard<S>,
}

/// The meter of a session with a WebSocket.
struct StreamMeter {
    meter: Arc<SessionMeter>,
    frames: FrameCounter,
    /// Complete when the session must end, one each for the reading and the writing task.
    closing_read: Closing,
    closing_write: Closing,
}

type Closing = Pin<Box<WaitForCancellationFutureOwned>>;

impl StreamMeter {
    fn new(meter: Arc<SessionMeter>) -> Self {
        let closing = || Box::pin(meter.closing().clone().cancelled_owned());
        Self {
            frames: FrameCounter::default(),
            closing_read: closing(),
            closing_write: closing(),
            meter,
        }
    }

    fn count(&mut self, bytes: &[u8]) -> io::Result<()> {
        let FrameCount {
            frames,
            payload_bytes,
        } = self.frames.count(bytes);
        self.meter
            .count(frames, payload_bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl<S: EngineIoService> PreludeStream<S> {
    /// Creates a stream without a simulated beginning.
    pub(super) fn new(
        stream: Box<dyn DuplexStream>,
        guard: SessionGuard<S>,
        meter: Option<Arc<SessionMeter>>,
    ) -> Self {
        Self {
            stream,
            replayed: Bytes::new(),
            to_skip: 0,
            handshake: Bytes::new(),
            meter: meter.map(StreamMeter::new),
            _guard: guard,
        }
    }

    /// Sets the bytes that are read first, and the packet that replaces the first `to_skip` bytes
    /// written.
    pub(super) fn with_beginning(self, replayed: Bytes, to_skip: usize, handshake: Bytes) -> Self {
        Self {
            replayed,
            to_skip,
            handshake,
            ..self
        }
    }

    /// Fails a write that waits while the session must end.
    fn or_closing<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.meter {
            Some(meter) if written.is_pending() && !meter.meter.closing().is_cancelled() => meter
                .closing_write
                .as_mut()
                .poll(context)
                .map(|()| Err(io::ErrorKind::TimedOut.into())),
            Some(_) if written.is_pending() => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            _ => written,
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

impl<S: EngineIoService> PreludeStream<S> {
    fn poll_read_metered(
        &mut self,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(meter) = &mut self.meter else {
            return Pin::new(&mut self.stream).poll_read(context, into);
        };
        // To the service, a session that must end looks like a client that is gone.
        if meter.meter.closing().is_cancelled() {
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, into) {
            Poll::Ready(Ok(())) => Poll::Ready(meter.count(&into.filled()[before..])),
            Poll::Pending => meter.closing_read.as_mut().poll(context).map(Ok),
            failed @ Poll::Ready(Err(_)) => failed,
        }
    }
}

impl<S: EngineIoService> AsyncRead for PreludeStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.replayed.is_empty() {
            return self.poll_read_metered(context, into);
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
            Poll::Ready(Ok(())) => {
                let written = Pin::new(&mut self.stream).poll_write(context, bytes);
                self.or_closing(context, written)
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_write_handshake(context) {
            Poll::Ready(Ok(())) => {
                let flushed = Pin::new(&mut self.stream).poll_flush(context);
                self.or_closing(context, flushed)
            }
            other => other,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        self.or_closing(context, ended)
    }
}
