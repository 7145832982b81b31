//! The socket: backends connect, hand over a call, and wait for its reply.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::events::{Event, Outbox};
use super::{call, key_requests};
use crate::gateway::protocol::{self, HELLO, PREFIX, Reply, Request};
use crate::openrouter::client::OpenRouter;

/// What tokio's tasks and the main thread share.
pub struct Shared {
    pub outbox: Outbox,
    openrouter: RwLock<Result<OpenRouter, String>>,
    /// Calls whose callers have not read their replies yet, and have not gone.
    open: Mutex<HashSet<Uuid>>,
    connections: AtomicUsize,
    /// OpenRouter's clock less this one's, in seconds, at the last answer.
    clock_skew: AtomicI64,
    /// Rung whenever a call leaves that set.
    ended: Notify,
    /// How the last attempt to reach it went.
    last_contact: Mutex<Option<Result<(), String>>>,
    /// True once the gateway leaves.
    leaving: watch::Receiver<bool>,
}

impl Shared {
    pub fn new(
        outbox: Outbox,
        openrouter: Result<OpenRouter, String>,
        leaving: watch::Receiver<bool>,
    ) -> Shared {
        Shared {
            outbox,
            leaving,
            clock_skew: AtomicI64::new(i64::MIN),
            last_contact: Mutex::default(),
            openrouter: RwLock::new(openrouter),
            open: Mutex::default(),
            ended: Notify::new(),
            connections: AtomicUsize::new(0),
        }
    }

    /// The client, or what is wrong with its settings.
    pub fn openrouter(&self) -> Result<OpenRouter, String> {
        self.openrouter.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A new client, after a reload.
    pub fn set_openrouter(&self, openrouter: Result<OpenRouter, String>) {
        *self.openrouter.write().unwrap_or_else(PoisonError::into_inner) = openrouter;
    }

    /// The calls whose callers may still be reading.
    pub fn open_calls(&self) -> Vec<Uuid> {
        self.open_set(|open| open.iter().copied().collect())
    }

    /// Waits until a call's caller has its answer, or has gone and the call has ended.
    pub async fn until_ended(&self, call: Uuid) {
        loop {
            let ended = self.ended.notified();
            if !self.open_set(|open| open.contains(&call)) {
                return;
            }
            ended.await;
        }
    }

    /// True while a call is under way, or its caller reads the answer.
    pub fn is_open(&self, call: Uuid) -> bool {
        self.open_set(|open| open.contains(&call))
    }

    /// How many calls are under way, or waiting to be.
    pub fn in_flight(&self) -> usize {
        self.open_set(|open| open.len())
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// Takes note of OpenRouter's clock.
    pub fn set_clock_skew(&self, seconds: i64) {
        self.clock_skew.store(seconds, Ordering::Release);
    }

    /// Takes note of whether OpenRouter could be reached.
    pub fn set_last_contact(&self, contact: Result<(), String>) {
        *self.last_contact.lock().unwrap_or_else(PoisonError::into_inner) = Some(contact);
    }

    /// How the last attempt to reach OpenRouter went; None before the first.
    pub fn last_contact(&self) -> Option<Result<(), String>> {
        self.last_contact.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// OpenRouter's clock less this one's, in seconds; None before the first answer.
    pub fn clock_skew(&self) -> Option<i64> {
        Some(self.clock_skew.load(Ordering::Acquire)).filter(|seconds| *seconds != i64::MIN)
    }

    /// Until the gateway leaves.
    pub async fn leaving(&self) {
        // The sender lives as long as the gateway: without it, it has left.
        let _ = self.leaving.clone().wait_for(|leaving| *leaving).await;
    }

    fn open_set<R>(&self, work: impl FnOnce(&mut HashSet<Uuid>) -> R) -> R {
        work(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Listens at `path`. The name appears only once the socket can be connected to.
pub async fn listen(path: &Path) -> std::io::Result<UnixListener> {
    let unready = path.with_extension("new");
    let _ = std::fs::remove_file(&unready);
    let listener = UnixListener::bind(&unready)?;
    std::fs::rename(&unready, path)?;
    Ok(listener)
}

/// Serves connections until the gateway leaves.
pub async fn serve(listener: UnixListener, shared: Arc<Shared>) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.leaving() => return,
        };
        let Ok((stream, _)) = stream else {
            // Out of descriptors: those that are in use will come back.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        let counted = Counted::new(&shared);
        tokio::spawn(async move {
            let mut connection = Connection::new(stream, Arc::clone(&counted.0));
            // An error here is a caller that has gone: what it left is settled without it.
            let _ = connection.serve().await;
        });
    }
}

struct Counted(Arc<Shared>);

impl Counted {
    fn new(shared: &Arc<Shared>) -> Counted {
        shared.connections.fetch_add(1, Ordering::AcqRel);
        Counted(Arc::clone(shared))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A call whose caller may still be reading, in the set for as long as it lives.
struct OpenCall(Arc<Shared>, Uuid);

impl OpenCall {
    fn new(shared: &Arc<Shared>, call: Uuid) -> OpenCall {
        shared.open_set(|open| open.insert(call));
        OpenCall(Arc::clone(shared), call)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.open_set(|open| open.remove(&self.1));
        self.0.ended.notify_waiters();
    }
}

struct Connection {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    shared: Arc<Shared>,
}

impl Connection {
    fn new(stream: UnixStream, shared: Arc<Shared>) -> Connection {
        let (reader, writer) = stream.into_split();
        Connection { reader, writer, shared }
    }

    async fn serve(&mut self) -> std::io::Result<()> {
        self.writer.write_all(&HELLO).await?;
        loop {
            // What was not read when the gateway leaves is not read any more: its sender is told.
            let shared = Arc::clone(&self.shared);
            let (request, body) = tokio::select! {
                biased;
                () = shared.leaving() => {
                    return self.reply(&Reply::Leaving, &[]).await;
                }
                request = self.read() => request?,
            };
            match request {
                Request::Submit(submit) => {
                    let call = submit.entry.id;
                    let _open = OpenCall::new(&self.shared, call);
                    let told = self.call(*submit, body).await;
                    if told.is_err() {
                        // Before it leaves the set: the sweep looks at the set first, then at events.
                        self.shared.outbox.send(Event::CallerGone { call });
                    }
                    told?;
                }
                Request::Defer { call, xid } => {
                    let done = self.shared.outbox.ask(|done| Event::Defer { call, xid, done });
                    // Without an answer the caller waits for the lock itself.
                    done.await.ok_or(std::io::ErrorKind::BrokenPipe)?;
                    self.reply(&Reply::Deferred, &[]).await?;
                }
                Request::Status(keys) => {
                    let status = self.shared.outbox.ask(|done| Event::Status { keys, done }).await;
                    let status = status.ok_or(std::io::ErrorKind::BrokenPipe)?;
                    self.reply(&Reply::Status(status), &[]).await?;
                }
                Request::Await(call) => {
                    let shared = Arc::clone(&self.shared);
                    let ended = async {
                        shared.until_ended(call).await;
                        shared.outbox.ask(|done| Event::Written { call, done }).await
                    };
                    tokio::select! {
                        ended = ended => ended.ok_or(std::io::ErrorKind::BrokenPipe)?,
                        () = shared.leaving() => return self.reply(&Reply::Leaving, &[]).await,
                        // A caller says nothing before its reply: it has gone.
                        _ = self.reader.read_u8() => {
                            return Err(std::io::ErrorKind::UnexpectedEof.into());
                        }
                    }
                    self.reply(&Reply::Ended, &[]).await?;
                }
                Request::SettleNow => {
                    let shared = Arc::clone(&self.shared);
                    let settled = shared.outbox.ask(|done| Event::SettleNow { done });
                    let settled = tokio::select! {
                        settled = settled => settled.ok_or(std::io::ErrorKind::BrokenPipe)?,
                        () = shared.leaving() => return self.reply(&Reply::Leaving, &[]).await,
                        // A caller says nothing before its reply: it has gone.
                        _ = self.reader.read_u8() => {
                            return Err(std::io::ErrorKind::UnexpectedEof.into());
                        }
                    };
                    let reply = settled.map_or_else(Reply::Refused, Reply::SettledNow);
                    self.reply(&reply, &[]).await?;
                }
                Request::Received => return Err(std::io::ErrorKind::InvalidData.into()),
                about_keys => {
                    let reply = tokio::select! {
                        reply = key_requests::answer(&self.shared, about_keys, body) => reply,
                        // A caller says nothing before its reply: it has gone.
                        _ = self.reader.read_u8() => {
                            return Err(std::io::ErrorKind::UnexpectedEof.into());
                        }
                    };
                    self.reply(&reply, &[]).await?;
                }
            }
        }
    }

    /// Makes a call, replies, and waits until the reply was read. An error: the caller has gone.
    async fn call(&mut self, submit: protocol::Submit, body: Vec<u8>) -> std::io::Result<()> {
        let id = submit.entry.id;
        let principal = submit.entry.principal.clone();
        let (gone, caller) = watch::channel(false);
        let shared = Arc::clone(&self.shared);
        let mut call = std::pin::pin!(call::run(shared, submit, body, caller));
        let (reply, body) = tokio::select! {
            answer = &mut call => answer,
            // A caller says nothing before its reply: this is the end of the stream.
            _ = self.reader.read_u8() => {
                gone.send_replace(true);
                self.shared.outbox.send(Event::CallerGone { call: id });
                let (reply, answer) = call.await;
                if matches!(reply, Reply::Answered { .. }) {
                    self.shared.outbox.send(Event::Undelivered { call: id, principal, answer });
                }
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        };
        let read = match self.reply(&reply, &body).await {
            Ok(()) => self.read().await,
            Err(error) => Err(error),
        };
        if read.is_err() && matches!(reply, Reply::Answered { .. }) {
            self.shared.outbox.send(Event::Undelivered { call: id, principal, answer: body });
        }
        match read? {
            (Request::Received, _) => Ok(()),
            _ => Err(std::io::ErrorKind::InvalidData.into()),
        }
    }

    async fn read(&mut self) -> std::io::Result<(Request, Vec<u8>)> {
        let garbled = |what| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
        let mut prefix = [0; PREFIX];
        self.reader.read_exact(&mut prefix).await?;
        let (header_length, body_length) = protocol::lengths(prefix).map_err(garbled)?;
        let mut header = vec![0; header_length];
        self.reader.read_exact(&mut header).await?;
        let mut body = vec![0; body_length];
        self.reader.read_exact(&mut body).await?;
        Ok((protocol::decode(&header).map_err(garbled)?, body))
    }

    async fn reply(&mut self, reply: &Reply, body: &[u8]) -> std::io::Result<()> {
        let frame = protocol::encode(reply, body).map_err(std::io::Error::other)?;
        self.writer.write_all(&frame).await
    }
}
