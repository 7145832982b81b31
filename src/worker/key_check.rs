//! Asks OpenRouter what it knows of a key. It costs nothing, so that it may be asked again.

use std::time::Duration;

use reqwest::header::HeaderValue;

use super::server::Shared;
use crate::gateway::protocol::Reply;
use crate::openrouter::answer::HttpAnswer;
use crate::openrouter::client::HttpError;
use crate::openrouter::failure::{Failure, FailureKind};
use crate::openrouter::key_info;

/// How long to wait before each further attempt.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// What OpenRouter says of the key of this header, within `hiems.request_timeout`.
pub async fn run(shared: &Shared, authorization: HeaderValue) -> Result<Reply, Failure> {
    let openrouter = shared.openrouter().map_err(|reason| {
        Failure::new(FailureKind::Unavailable, "the gateway's settings are wrong")
            .detail(reason)
            .hint("An admin sees in hiems.health() what to do.")
    })?;
    let attempts = async {
        for pause in PAUSES {
            let answer = openrouter.key(authorization.clone()).await;
            if !is_passing(&answer) {
                return answer;
            }
            tokio::time::sleep(pause).await;
        }
        openrouter.key(authorization.clone()).await
    };
    let answer = tokio::time::timeout(openrouter.request_timeout(), attempts).await;
    let answer = answer.unwrap_or(Err(HttpError::Timeout)).map_err(unanswered)?;
    key_info::read(&answer).map(|info| Reply::Checked(Box::new(info)))
}

/// True where another attempt may go better.
fn is_passing(answer: &Result<HttpAnswer, HttpError>) -> bool {
    match answer {
        Ok(answer) => answer.status >= 500,
        Err(HttpError::NotSent(_) | HttpError::Broken(_)) => true,
        Err(HttpError::Timeout | HttpError::TooLarge) => false,
    }
}

fn unanswered(error: HttpError) -> Failure {
    let failure =
        |kind, what: &str| Failure::new(kind, &format!("the key was not checked: {what}"));
    match error {
        HttpError::NotSent(why) => {
            failure(FailureKind::Unavailable, "OpenRouter cannot be reached")
                .detail(why)
                .hint("Look at hiems.base_url.")
        }
        HttpError::Broken(why) => {
            failure(FailureKind::BadUpstream, "the connection broke").detail(why)
        }
        HttpError::Timeout => failure(FailureKind::Timeout, "no answer in time")
            .hint("hiems.request_timeout is how long it is waited for."),
        HttpError::TooLarge => {
            failure(FailureKind::BadUpstream, "the answer is larger than hiems.max_response_bytes")
        }
    }
}
