//! One connection to the gateway: sends and reads frames, and every wait can be cancelled.
//!
//! It closes when it is dropped, also by the unwinding of an ERROR: the gateway sees the end of the
//! stream, and knows that its caller has gone.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use socket2::{Domain, SockAddr, Socket, Type};

use super::protocol::{self, Greeting, HELLO, PREFIX, Reply};
use crate::pg::wait::{Interest, WaitSet};
use crate::pg::{interrupts, limits, process};

/// Why a connection cannot be used.
#[derive(Debug)]
pub enum Broken {
    /// Nobody listens, or the other side has closed.
    Closed,
    /// A gateway from before a library upgrade listens; its process.
    Older(Option<i32>),
    /// A gateway from after a library upgrade listens.
    Newer,
    /// What came cannot be read.
    Garbled(String),
    /// Nothing came in time.
    TimedOut,
}

pub struct Connection {
    // Dropped first: it refers to the stream's descriptor.
    wait: WaitSet,
    /// Buffered, so that a small frame is one read.
    stream: BufReader<UnixStream>,
}

/// How long a gateway that accepted may take for its hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// From so many octets on a body's memory must not stay with the session.
const LARGE: usize = 1024 * 1024;

fn give_back_later(length: usize) {
    if length >= LARGE {
        limits::give_memory_back();
    }
}

impl Connection {
    /// Connects to a gateway that is ready: its hello has been read.
    pub fn open(path: &Path) -> Result<Connection, Broken> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(|_| Broken::Closed)?;
        socket.set_nonblocking(true).map_err(|_| Broken::Closed)?;
        let address = SockAddr::unix(path).map_err(|_| Broken::Closed)?;
        // Unix sockets connect at once, or fail: also where the backlog is full.
        socket.connect(&address).map_err(|_| Broken::Closed)?;
        let stream = UnixStream::from(std::os::fd::OwnedFd::from(socket));
        let wait = WaitSet::new(stream.as_raw_fd());
        let mut connection = Connection { wait, stream: BufReader::new(stream) };
        let mut hello = [0; HELLO.len()];
        connection.read_exact(&mut hello, Some(Instant::now() + HELLO_TIMEOUT))?;
        match Greeting::read(hello) {
            Some(Greeting::Same) => Ok(connection),
            Some(Greeting::Older) => {
                Err(Broken::Older(process::peer(connection.stream.get_ref().as_raw_fd())))
            }
            Some(Greeting::Newer) => Err(Broken::Newer),
            None => Err(Broken::Garbled("it is no gateway of hiems".to_owned())),
        }
    }

    /// False if the other side has closed or has said anything since the last reply.
    pub fn is_fresh(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit(); 1];
        let socket = socket2::SockRef::from(self.stream.get_ref());
        self.stream.buffer().is_empty()
            && matches!(socket.peek(&mut byte), Err(e) if e.kind() == ErrorKind::WouldBlock)
    }

    /// Sends a frame.
    pub fn send(&mut self, header: &impl Serialize, body: &[u8]) -> Result<(), Broken> {
        give_back_later(body.len());
        let frame = protocol::encode(header, body).map_err(Broken::Garbled)?;
        let frame = zeroize::Zeroizing::new(frame);
        let mut rest = &frame[..];
        while !rest.is_empty() {
            match self.stream.get_mut().write(rest) {
                Ok(0) => return Err(Broken::Closed),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    interrupts::check();
                    self.wait.wait(Interest::Writable, None);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Broken::Closed),
            }
        }
        Ok(())
    }

    /// Sends a small frame if that needs no waiting, and raises nothing.
    pub fn try_send(&mut self, header: &impl Serialize) -> Result<(), Broken> {
        let frame = protocol::encode(header, &[]).map_err(Broken::Garbled)?;
        match self.stream.get_mut().write(&frame) {
            Ok(written) if written == frame.len() => Ok(()),
            _ => Err(Broken::Closed),
        }
    }

    /// Sends a frame within so long, and does not look at interrupts: for where nothing may be raised. To be
    /// closed after it. False where it could not be.
    pub fn send_last(&mut self, header: &impl Serialize, time: Duration) -> bool {
        let Ok(frame) = protocol::encode(header, &[]) else { return false };
        let deadline = Instant::now() + time;
        if self.stream.get_ref().set_nonblocking(false).is_err() {
            return false;
        }
        let mut rest = &frame[..];
        while !rest.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.get_ref().set_write_timeout(Some(left)).is_err() {
                return false;
            }
            match self.stream.get_mut().write(rest) {
                Ok(written) if written > 0 => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return false,
            }
        }
        true
    }

    /// Waits for a frame: until `deadline` for its beginning, or however long it takes.
    pub fn receive(&mut self, deadline: Option<Instant>) -> Result<(Reply, Vec<u8>), Broken> {
        let mut prefix = [0; PREFIX];
        self.read_exact(&mut prefix, deadline)?;
        let (header_length, body_length) = protocol::lengths(prefix).map_err(Broken::Garbled)?;
        give_back_later(body_length);
        let mut header = vec![0; header_length];
        self.read_exact(&mut header, None)?;
        let mut body = vec![0; body_length];
        self.read_exact(&mut body, None)?;
        let reply = protocol::decode(&header).map_err(Broken::Garbled)?;
        Ok((reply, body))
    }

    fn read_exact(&mut self, buffer: &mut [u8], deadline: Option<Instant>) -> Result<(), Broken> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.stream.read(&mut buffer[filled..]) {
                Ok(0) => return Err(Broken::Closed),
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    interrupts::check();
                    let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
                    if left.is_some_and(|left| left.is_zero()) {
                        return Err(Broken::TimedOut);
                    }
                    self.wait.wait(Interest::Readable, left);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Broken::Closed),
            }
        }
        Ok(())
    }
}
