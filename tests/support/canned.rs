//! A server that answers whatever it is told, byte by byte: what the fake OpenRouter is too polite for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Listens on 127.0.0.1 until it is dropped; one request to a connection.
pub struct Canned {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    answer: Mutex<Vec<u8>>,
    hold: AtomicBool,
    /// Connections that are not answered.
    held: Mutex<Vec<TcpStream>>,
    requests: AtomicUsize,
    over: AtomicBool,
}

impl Canned {
    pub fn start() -> Canned {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.over.load(Ordering::Acquire) {
                    return;
                }
                // A client that has gone misses nothing.
                let _ = serve(&serving, stream);
            }
        });
        Canned { address, shared }
    }

    /// For `hiems.base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.address)
    }

    /// How many requests have come.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Acquire)
    }

    /// From now on answers nothing, and keeps the connections open.
    pub fn hold(&self) {
        self.shared.hold.store(true, Ordering::Release);
    }

    /// From now on closes the connection after these bytes.
    pub fn answer_raw(&self, bytes: &[u8]) {
        *self.shared.answer.lock().expect("the answer") = bytes.to_vec();
    }

    /// From now on answers this status, these header lines (each ends in `\r\n`) and this body.
    pub fn answer(&self, status: u16, headers: &str, body: &[u8]) {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        self.answer_raw(&[head.as_bytes(), body].concat());
    }
}

impl Drop for Canned {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        // Wakes the thread.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(shared: &Shared, mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or_default();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    shared.requests.fetch_add(1, Ordering::AcqRel);
    if shared.hold.load(Ordering::Acquire) {
        shared.held.lock().expect("the held").push(stream);
        return Ok(());
    }
    let answer = shared.answer.lock().expect("the answer").clone();
    stream.write_all(&answer)
}
