//! The fake's answers and hiems's requests against OpenRouter's own description of its API, where that
//! is at hand: in the file that HIEMS_OPENAPI names, or beside the project. What the wire has and the
//! description omits (`provider`, `native_finish_reason`, ...) is extra, and allowed.

mod answers;
mod requests;
mod spec;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use fake_openrouter::Fake;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use crate::openrouter::answer::HttpAnswer;
use crate::openrouter::client::{App, ClientOptions, OpenRouter};

const KEY: &str = "sk-or-v1-contract";
const MANAGEMENT_KEY: &str = "sk-or-v1-mgmt-contract";

/// Sends this body as the gateway does.
fn post(fake: &Fake, body: &str) -> HttpAnswer {
    let openrouter = OpenRouter::new(&ClientOptions {
        base_url: &fake.base_url(),
        ca_file: None,
        connect_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(30),
        max_attempts: 1,
        max_response_bytes: 1 << 20,
        app: App::default(),
    })
    .expect("a client");
    let authorization = HeaderValue::from_str(&format!("Bearer {KEY}")).expect("a header");
    let body = body.as_bytes().to_vec().into();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(openrouter.chat(authorization, body, Duration::from_secs(30), |_| ()))
        .expect("an answer")
}

/// A chat completion with these controls of the fake's; further fields on top.
fn ask(fake: &Fake, metadata: Value, more: Value) -> HttpAnswer {
    post(fake, &completion(metadata, more).to_string())
}

fn completion(metadata: Value, more: Value) -> Value {
    let mut body = json!({
        "model": "openai/gpt-5",
        "messages": [{"role": "user", "content": "Why is the sea salt?"}],
        "user": "u1",
        "metadata": metadata,
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

/// Status and body of a GET.
fn get(fake: &Fake, path: &str, key: &str) -> (u16, Value) {
    let answer = exchange(fake, &format!("GET {path}"), key, "", "");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).expect("JSON"))
}

/// All that comes back over a connection of its own. `headers` end in line breaks.
fn exchange(fake: &Fake, what: &str, key: &str, headers: &str, body: &str) -> String {
    let (method, path) = what.split_once(' ').expect("a method and a path");
    let length = body.len();
    let url = fake.base_url();
    let (host, prefix) =
        url.strip_prefix("http://").and_then(|url| url.split_once('/')).expect("a URL");
    let mut stream = TcpStream::connect(host).expect("the fake listens");
    write!(
        stream,
        "{method} /{prefix}{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n\
         {headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}
