//! A socket whose first bytes were already read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::head_guard::HeadGuard;

/// A socket whose first bytes were already read; reads return those first. Until an upgrade, a
/// guard watches the request heads.
pub(super) struct PrefixedStream {
    prefix: Bytes,
    socket: TcpStream,
    guard: Option<Box<HeadGuard>>,
}

impl PrefixedStream {
    /// Puts bytes that were already read in front of a socket.
    pub(super) fn new(prefix: Bytes, socket: TcpStream, guard: HeadGuard) -> Self {
        Self {
            prefix,
            socket,
            guard: Some(Box::new(guard)),
        }
    }

    /// Takes the socket out of the runtime. Also returns all bytes that came behind the request:
    /// `read`, which hyper had buffered, and those it had not read.
    pub(super) fn into_parts(self, read: &[u8]) -> io::Result<(std::net::TcpStream, Bytes)> {
        Ok((
            self.socket.into_std()?,
            [read, &self.prefix].concat().into(),
        ))
    }

    fn poll_read_unguarded(
        &mut self,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.socket).poll_read(context, into);
        }
        let count = self.prefix.len().min(into.remaining());
        into.put_slice(&self.prefix[..count]);
        self.prefix.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for PrefixedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = self.poll_read_unguarded(context, into);
        let Some(guard) = &mut self.guard else {
            return read;
        };
        match read {
            Poll::Ready(Ok(())) => {
                guard.on_read(&mut into.filled_mut()[before..]);
                read
            }
            Poll::Ready(Err(_)) => read,
            // To the HTTP library, an overdue head looks like the end of the stream.
            Poll::Pending => guard.poll_overdue(context).map(Ok),
        }
    }
}

impl AsyncWrite for PrefixedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
