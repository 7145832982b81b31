//! The client library that hiems's gateway has, alone: sends requests, and throws the answers away.

use std::sync::Arc;

use hiems_tests::KEY;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const BODY: &str = r#"{"model": "openai/gpt-4o-mini",
    "messages": [{"role": "user", "content": "hello"}], "user": "user-1"}"#;

pub struct Client {
    runtime: Runtime,
    client: reqwest::Client,
    url: String,
}

impl Client {
    /// With as many threads as the gateway.
    pub fn new(base_url: &str) -> Client {
        // Needed by the library, though nothing is encrypted; an error: it is there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let client = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build();
        Client {
            runtime: runtime.expect("a runtime"),
            client: client.expect("a client"),
            url: format!("{base_url}/chat/completions"),
        }
    }

    /// Makes so many calls, so many of them at once.
    pub fn run(&self, calls: u64, at_once: u64) {
        let room = Arc::new(Semaphore::new(at_once as usize));
        self.runtime.block_on(async {
            let mut under_way = JoinSet::new();
            for _ in 0..calls {
                let place = Arc::clone(&room).acquire_owned().await.expect("a place");
                let request = self
                    .client
                    .post(&self.url)
                    .header(AUTHORIZATION, format!("Bearer {KEY}"))
                    .header(CONTENT_TYPE, "application/json")
                    .body(BODY);
                under_way.spawn(async move {
                    let answer = request.send().await.expect("an answer");
                    assert!(answer.status().is_success());
                    answer.bytes().await.expect("a body");
                    drop(place);
                });
            }
            while let Some(ended) = under_way.join_next().await {
                ended.expect("a call");
            }
        });
    }
}
