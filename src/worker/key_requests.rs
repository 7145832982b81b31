//! What backends ask of the keys: to seal one, to seal all anew, to look one up at OpenRouter.

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::events::{Event, KeyEvent};
use super::key_check;
use super::server::Shared;
use crate::gateway::protocol::{KeySource, Reply, Request};
use crate::openrouter::failure::{Failure, FailureKind};
use crate::pg::identity;
use crate::vault::key_source;

/// The reply to a request; `body` is its body.
pub async fn answer(shared: &Shared, request: Request, body: Vec<u8>) -> Reply {
    let body = Zeroizing::new(body);
    let result = match request {
        Request::Seal(request) => match key(request.source.clone(), body).await {
            Ok(key) => ask(shared, |done| KeyEvent::Seal { request, key, done }).await,
            Err(failure) => Err(failure),
        },
        Request::Reseal(keys) => {
            ask(shared, |done| KeyEvent::Reseal { keys, adopts: false, done }).await
        }
        Request::Adopt(keys) => {
            ask(shared, |done| KeyEvent::Reseal { keys, adopts: true, done }).await
        }
        Request::Check(key) => match ask(shared, |done| KeyEvent::Open { key, done }).await {
            Ok(authorization) => key_check::run(shared, authorization).await,
            Err(failure) => Err(failure),
        },
        _ => Err(Failure::new(FailureKind::Internal, "this is no request about keys")),
    };
    result.unwrap_or_else(Reply::Refused)
}

/// The key to seal, from where it is. A file's disk may be slow: it holds up nobody else.
async fn key(source: KeySource, body: Zeroizing<Vec<u8>>) -> Result<SecretString, Failure> {
    let read = match source {
        KeySource::Caller => std::str::from_utf8(&body)
            .map(SecretString::from)
            .map_err(|_| "The key is not text.".to_owned()),
        KeySource::Environment(variable) => key_source::from_environment(&variable),
        KeySource::File(path) => {
            let user = identity::server_user();
            tokio::task::spawn_blocking(move || key_source::from_file(&path, user))
                .await
                .unwrap_or_else(|_| Err("The file cannot be read.".to_owned()))
        }
    };
    read.map_err(|why| {
        Failure::new(FailureKind::InvalidRequest, "no key can be read where it was said to be")
            .detail(why)
    })
}

async fn ask<T>(
    shared: &Shared,
    event: impl FnOnce(tokio::sync::oneshot::Sender<Result<T, Failure>>) -> KeyEvent,
) -> Result<T, Failure> {
    let answer = shared.outbox.ask(|done| Event::Key(event(done))).await;
    answer.unwrap_or_else(|| {
        Err(Failure::new(FailureKind::Unavailable, "the gateway is leaving").hint("Try again."))
    })
}
