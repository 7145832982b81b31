//! The socket: backends connect, hand over what they want, and wait for the reply.

mod flights;
mod many;
mod shared;
mod slot;
mod stream;
mod submit;

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::events::Event;
use super::key_requests;
use crate::gateway::protocol::{self, HELLO, PREFIX, Reply, Request};

pub use flights::{Flight, Place, Queue};
use shared::{Counted, Enqueuing};
pub use shared::{OpenCall, Shared};
pub use slot::Slot;
pub use stream::Rows;

/// Listens at `path`. The name appears only once the socket can be connected to.
pub async fn listen(path: &Path) -> io::Result<UnixListener> {
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
            let mut connection = Connection::new(stream, counted.shared());
            // An error here is a caller that has gone: what it left is settled without it.
            let _ = connection.serve().await;
        });
    }
}

/// Whole frames at a time, where they are small.
type Reader = BufReader<OwnedReadHalf>;

struct Connection {
    reader: Reader,
    writer: OwnedWriteHalf,
    shared: Arc<Shared>,
    /// Set while its transaction changes the queue.
    enqueuing: Option<Enqueuing>,
}

impl Connection {
    fn new(stream: UnixStream, shared: Arc<Shared>) -> Connection {
        let (reader, writer) = stream.into_split();
        Connection { reader: BufReader::new(reader), writer, shared, enqueuing: None }
    }

    async fn serve(&mut self) -> io::Result<()> {
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
                Request::Submit(submit) => submit::serve(self, *submit, body).await?,
                Request::SubmitMany(many) => many::serve(self, *many, body).await?,
                Request::Stream(submit) => stream::serve(self, *submit, body).await?,
                Request::Defer { calls, xid } => self.defer(&calls, xid).await?,
                Request::Status(keys) => {
                    let status = self.shared.outbox.ask(|done| Event::Status { keys, done }).await;
                    let status = status.ok_or(ErrorKind::BrokenPipe)?;
                    self.reply(&Reply::Status(status), &[]).await?;
                }
                Request::Await { call, principal } => {
                    let ended = async {
                        shared.until_ended(call, &principal).await;
                        shared.outbox.ask(|done| Event::Written { call, principal, done }).await
                    };
                    let reply = match self.unless_gone(ended).await? {
                        Some(ended) => ended.map(|()| Reply::Ended).ok_or(ErrorKind::BrokenPipe)?,
                        None => return self.reply(&Reply::Leaving, &[]).await,
                    };
                    self.reply(&reply, &[]).await?;
                }
                Request::TakePrincipal { role, name } => {
                    let taken = shared.outbox.ask(|done| Event::Principal { role, name, done });
                    let taken = taken.await.ok_or(ErrorKind::BrokenPipe)?;
                    let reply = taken.map_or_else(Reply::Refused, Reply::Principal);
                    self.reply(&reply, &[]).await?;
                }
                Request::SettleNow => {
                    let settled = shared.outbox.ask(|done| Event::SettleNow { done });
                    let reply = match self.unless_gone(settled).await? {
                        Some(settled) => settled
                            .ok_or(ErrorKind::BrokenPipe)?
                            .map_or_else(Reply::Refused, Reply::SettledNow),
                        None => return self.reply(&Reply::Leaving, &[]).await,
                    };
                    self.reply(&reply, &[]).await?;
                }
                Request::Enqueued => {
                    self.enqueuing.get_or_insert_with(|| Enqueuing::new(&shared));
                    self.reply(&Reply::Staying, &[]).await?;
                }
                Request::Wake => self.enqueuing = None,
                Request::Received | Request::Closed { .. } => {
                    return Err(ErrorKind::InvalidData.into());
                }
                about_keys => {
                    let reply = tokio::select! {
                        reply = key_requests::answer(&shared, about_keys, body) => reply,
                        gone = gone(&mut self.reader) => return Err(gone),
                    };
                    self.reply(&reply, &[]).await?;
                }
            }
        }
    }

    async fn defer(&mut self, calls: &[Uuid], xid: u64) -> io::Result<()> {
        let asked: Vec<_> = calls
            .iter()
            .map(|call| {
                let (done, deferred) = oneshot::channel();
                self.shared.outbox.send(Event::Defer { call: *call, xid, done });
                deferred
            })
            .collect();
        for deferred in asked {
            // Without an answer the caller waits for the lock itself.
            deferred.await.map_err(|_| ErrorKind::BrokenPipe)?;
        }
        self.reply(&Reply::Deferred, &[]).await
    }

    /// What comes of `work`; None where the gateway leaves before. An error: the caller has gone.
    async fn unless_gone<T>(&mut self, work: impl Future<Output = T>) -> io::Result<Option<T>> {
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            result = work => Ok(Some(result)),
            () = shared.leaving() => Ok(None),
            gone = gone(&mut self.reader) => Err(gone),
        }
    }

    async fn read(&mut self) -> io::Result<(Request, Vec<u8>)> {
        read(&mut self.reader).await
    }

    async fn reply(&mut self, reply: &Reply, body: &[u8]) -> io::Result<()> {
        write(&mut self.writer, reply, body).await
    }
}

/// Reads a frame.
async fn read(reader: &mut Reader) -> io::Result<(Request, Vec<u8>)> {
    let garbled = |what| io::Error::new(ErrorKind::InvalidData, what);
    let mut prefix = [0; PREFIX];
    reader.read_exact(&mut prefix).await?;
    let (header_length, body_length) = protocol::lengths(prefix).map_err(garbled)?;
    let mut header = vec![0; header_length];
    reader.read_exact(&mut header).await?;
    let mut body = vec![0; body_length];
    reader.read_exact(&mut body).await?;
    Ok((protocol::decode(&header).map_err(garbled)?, body))
}

async fn write(writer: &mut OwnedWriteHalf, reply: &Reply, body: &[u8]) -> io::Result<()> {
    let frame = protocol::encode(reply, body).map_err(io::Error::other)?;
    writer.write_all(&frame).await
}

/// Waits for the end of the stream: a caller says nothing before its reply.
async fn gone(reader: &mut Reader) -> io::Error {
    match reader.read_u8().await {
        Ok(_) => ErrorKind::InvalidData.into(),
        Err(error) => error,
    }
}
