//! A TCP listener that counts what it accepts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};

use crate::state::State;

/// Hands connections to the server and counts them in the shared state.
pub(crate) struct CountingListener {
    inner: TcpListener,
    state: Arc<State>,
}

impl CountingListener {
    pub(crate) fn new(inner: TcpListener, state: Arc<State>) -> Self {
        Self { inner, state }
    }
}

impl Listener for CountingListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.inner).await;
        self.state.connection_accepted();
        // A response is written in pieces; Nagle's delay between them would be measured as ours.
        let _ = stream.set_nodelay(true);
        (stream, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}
