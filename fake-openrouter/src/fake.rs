//! The running server as a value: starts on creation, stops on drop.

use std::future::IntoFuture;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpSocket;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::connection::Shears;
use crate::listener::Listener;
use crate::state::State;
use crate::tls::Identity;
use crate::{Config, Generation, ReceivedRequest, routes};

/// Room for a benchmark that opens all its connections at once.
const BACKLOG: u32 = 1024;

/// A fake OpenRouter that listens on 127.0.0.1 until it is dropped.
pub struct Fake {
    state: Arc<State>,
    address: SocketAddr,
    ca_pem: Option<String>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// Starts the server on a thread and a runtime of its own; listening when this returns.
    pub fn start(config: Config) -> io::Result<Fake> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("fake-openrouter")
            .enable_all()
            .build()?;
        let socket = {
            let _context = runtime.enter();
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, config.port)))?;
            socket.listen(BACKLOG)?
        };
        let address = socket.local_addr()?;

        let identity = if config.tls { Some(Identity::new()?) } else { None };
        let (acceptor, ca_pem) = identity.map(|it| (it.acceptor, it.ca_pem)).unzip();
        let state = Arc::new(State::new(config));
        let listener = Listener::new(socket, acceptor, state.clone());
        let service = routes::router(state.clone()).into_make_service_with_connect_info::<Shears>();
        let (stop, stopped) = oneshot::channel();
        let thread =
            std::thread::Builder::new().name("fake-openrouter-main".into()).spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = axum::serve(listener, service).into_future() => {}
                        _ = stopped => {}
                    }
                });
                // Dropping the runtime cuts open connections and running generations.
            })?;
        Ok(Fake { state, address, ca_pem, stop: Some(stop), thread: Some(thread) })
    }

    /// The URL to configure as OpenRouter's, such as `http://127.0.0.1:4000/api/v1`.
    pub fn base_url(&self) -> String {
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/api/v1", self.address)
    }

    /// The authority to trust, in PEM, where the configuration asked for TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// From now on every request wishes for this too, with or without metadata of its own; what it
    /// asks for itself goes before. The names are those of the `fake_*` controls.
    pub fn wish(&self, wishes: &[(&str, &str)]) {
        let pairs = wishes.iter().map(|(name, text)| ((*name).to_owned(), (*text).into()));
        self.state.set_wishes(pairs.collect());
    }

    /// Every generation, running ones too, in the order they were started.
    pub fn bill(&self) -> Vec<Generation> {
        self.state.bill.generations()
    }

    /// One generation by its id, however fresh.
    pub fn generation(&self, id: &str) -> Option<Generation> {
        self.state.bill.generation(id)
    }

    /// True once a generation for this `user` has begun.
    pub fn has_begun(&self, user: &str) -> bool {
        self.state.bill.has_begun(user)
    }

    /// True once a chat completion request for this `user` has come, and been decided on.
    pub fn has_received(&self, user: &str) -> bool {
        self.state.bill.has_received(user)
    }

    /// Every chat completion request, refused ones too.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.state.bill.requests()
    }

    /// How many chat completion requests have come, refused ones too.
    pub fn request_count(&self) -> usize {
        self.state.bill.request_count()
    }

    /// The id of each look-up at `/generation`, in their order.
    pub fn lookups(&self) -> Vec<String> {
        self.state.bill.lookups()
    }

    /// Chat requests that were received and are not finished. One whose client left counts until
    /// its generation ends.
    pub fn in_flight(&self) -> usize {
        self.state.in_flight.count()
    }

    /// The most chat requests that were in flight at a time.
    pub fn most_in_flight(&self) -> usize {
        self.state.in_flight.most()
    }

    /// TCP connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.state.connections()
    }

    /// Forgets the bill and the requests, with them what `/key` sums, and how many refusals were
    /// asked for and given. A generation that is running meanwhile leaves no trace.
    pub fn clear(&self) {
        self.state.bill.clear();
        self.state.storms.clear();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
