//! A client that shows what arrives when: raw HTTP/1.1 over one connection per request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fake_openrouter::{Config, Fake};
use serde_json::{Value, json};

pub const KEY: &str = "sk-or-v1-test";

/// Longer than any answer takes, short enough to fail in.
const DEADLINE: Duration = Duration::from_secs(20);

pub fn start() -> Fake {
    Fake::start(Config::default()).expect("the fake starts")
}

/// A legal request for one model with these `fake_*` controls.
pub fn order(model: &str, metadata: Value) -> Value {
    json!({
        "model": model,
        "messages": [{ "role": "user", "content": "Why is the sea salt?" }],
        "metadata": metadata,
    })
}

pub fn ask(fake: &Fake, body: &Value) -> Reply {
    Exchange::open(fake, "POST", "/chat/completions", Some(KEY), &body.to_string()).reply()
}

pub fn get(fake: &Fake, path: &str) -> Reply {
    Exchange::open(fake, "GET", path, Some(KEY), "").reply()
}

/// Waits until a condition holds.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// A complete response.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

/// A request that was sent and a response that is read as far as the test wants.
pub struct Exchange(BufReader<TcpStream>);

impl Exchange {
    pub fn open(fake: &Fake, method: &str, path: &str, key: Option<&str>, body: &str) -> Self {
        let url = fake.base_url();
        let (host, prefix) =
            url.trim_start_matches("http://").split_once('/').expect("the URL has a path");
        let stream = TcpStream::connect(host).expect("the fake listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        let authorization =
            key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
        let length = body.len();
        write!(
            &stream,
            "{method} /{prefix}{path} HTTP/1.1\r\nHost: {host}\r\n{authorization}\
             Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .expect("the request is sent");
        Self(BufReader::new(stream))
    }

    /// Status and headers; the body stays unread.
    pub fn head(&mut self) -> (u16, Vec<(String, String)>) {
        let status = self.line().split(' ').nth(1).and_then(|code| code.parse().ok());
        let headers = std::iter::from_fn(|| {
            let line = self.line();
            let (name, value) = line.split_once(": ")?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect();
        (status.expect("a status line"), headers)
    }

    /// The next piece of a chunked body, empty at its end.
    pub fn chunk(&mut self) -> String {
        String::from_utf8(self.piece()).expect("text")
    }

    fn piece(&mut self) -> Vec<u8> {
        let length = usize::from_str_radix(&self.line(), 16).expect("a chunk length");
        let mut bytes = vec![0; length + 2];
        self.0.read_exact(&mut bytes).expect("a whole chunk");
        bytes.truncate(length);
        bytes
    }

    /// All bytes up to the end, or how it broke.
    pub fn rest(mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub fn reply(mut self) -> Reply {
        let (status, headers) = self.head();
        let chunked = headers.iter().any(|(name, _)| name == "transfer-encoding");
        let body = String::from_utf8(self.body(chunked)).expect("text");
        Reply { status, headers, body }
    }

    /// The body of an answer, text or not.
    pub fn bytes(mut self) -> Vec<u8> {
        let (_, headers) = self.head();
        self.body(headers.iter().any(|(name, _)| name == "transfer-encoding"))
    }

    fn body(mut self, chunked: bool) -> Vec<u8> {
        if !chunked {
            return self.rest().expect("a whole body");
        }
        let pieces = std::iter::repeat_with(|| self.piece());
        pieces.take_while(|piece| !piece.is_empty()).flatten().collect()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }
}
