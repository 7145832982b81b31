//! The listener: counts what it accepts, and shakes hands where there is TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::serve::Listener as Accept;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::connection::Connection;
use crate::state::State;

/// Hands connections to the server and counts them in the shared state.
pub(crate) struct Listener {
    inner: TcpListener,
    tls: Option<TlsAcceptor>,
    /// Handshakes on their way: a client that is slow at it holds up no other.
    handshakes: JoinSet<io::Result<(Connection, SocketAddr)>>,
    state: Arc<State>,
}

impl Listener {
    pub(crate) fn new(inner: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) -> Self {
        Self { inner, tls, handshakes: JoinSet::new(), state }
    }
}

impl Accept for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            tokio::select! {
                (stream, peer) = Accept::accept(&mut self.inner) => {
                    self.state.connection_accepted();
                    // A response is written in pieces; Nagle's delay between them would be
                    // measured as ours.
                    let _ = stream.set_nodelay(true);
                    let Some(tls) = &self.tls else {
                        return (Connection::plain(stream), peer);
                    };
                    let handshake = tls.accept(stream);
                    self.handshakes.spawn(async move { Ok((Connection::tls(handshake.await?), peer)) });
                }
                Some(done) = self.handshakes.join_next() => {
                    // A client that does not like the certificate is gone already.
                    if let Ok(Ok(accepted)) = done {
                        return accepted;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}
