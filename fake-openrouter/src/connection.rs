//! One connection of a client's, which the request on it may break.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::listener::Listener;

/// A connection in clear text or under TLS.
pub(crate) struct Connection {
    stream: Stream,
    shears: Shears,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Cuts its connection; every request on it has them.
#[derive(Clone)]
pub(crate) struct Shears(Arc<Cut>);

struct Cut {
    /// Bytes that still go through.
    left: AtomicUsize,
    /// The client sees a reset, not an end.
    reset: AtomicBool,
}

impl Shears {
    fn new() -> Self {
        let left = AtomicUsize::new(usize::MAX);
        Self(Arc::new(Cut { left, reset: AtomicBool::new(false) }))
    }

    /// Ends the connection after this many bytes.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.0.left.store(bytes, Ordering::SeqCst);
    }

    /// Resets the connection at once.
    pub(crate) fn reset(&self) {
        self.0.reset.store(true, Ordering::SeqCst);
        self.cut_after(0);
    }
}

impl Connected<IncomingStream<'_, Listener>> for Shears {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        stream.io().shears.clone()
    }
}

impl Connection {
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self { stream: Stream::Plain(stream), shears: Shears::new() }
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self { stream: Stream::Tls(Box::new(stream)), shears: Shears::new() }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }

    fn is_whole(&self) -> bool {
        self.shears.0.left.load(Ordering::SeqCst) == usize::MAX
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.shears.0.reset.load(Ordering::SeqCst) {
            // Closing a socket that lingers for no time resets the connection.
            let _ = SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let left = self.shears.0.left.load(Ordering::SeqCst);
        if left == 0 && !bytes.is_empty() {
            return Poll::Ready(Err(Error::from(ErrorKind::ConnectionReset)));
        }
        let bytes = &bytes[..bytes.len().min(left)];
        let written = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        if let Poll::Ready(Ok(count)) = written
            && !self.is_whole()
        {
            self.shears.cut_after(left - count);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        if !self.is_whole() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(context, first.map_or(&[], |slice| slice));
        }
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
