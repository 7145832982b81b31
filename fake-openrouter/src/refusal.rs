//! An answer that is an error: OpenRouter's envelope, or the edge's HTML page.
//!
//! What a given status says when a request asks for it with `fake_status` is in `samples`.

mod samples;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

pub(crate) use samples::sample;

/// OpenRouter names the account in the errors of a caller it knows.
const USER_ID: &str = "user_2fake0openrouter0account0";

/// An error response that has not been sent yet.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    body: Body,
    retry_after: Option<u64>,
}

#[derive(Debug)]
enum Body {
    Envelope(Value),
    EdgePage(&'static str),
}

impl Refusal {
    /// The envelope every caller with a key gets.
    pub(crate) fn new(status: StatusCode, message: &str, metadata: Option<Value>) -> Self {
        let mut error = json!({ "code": status.as_u16(), "message": message });
        if let Some(metadata) = metadata {
            error["metadata"] = metadata;
        }
        let body = Body::Envelope(json!({ "error": error, "user_id": USER_ID }));
        Self { status, body, retry_after: None }
    }

    /// 400 for a request that cannot be understood.
    pub(crate) fn bad_request(message: &str) -> Self {
        let metadata = json!({ "error_type": "invalid_request" });
        Self::new(StatusCode::BAD_REQUEST, message, Some(metadata))
    }

    /// 401, without an account since there is none.
    pub(crate) fn unauthorized(message: &str) -> Self {
        let body = json!({ "error": { "code": 401, "message": message } });
        Self { status: StatusCode::UNAUTHORIZED, body: Body::Envelope(body), retry_after: None }
    }

    /// 404 in the envelope.
    pub(crate) fn not_found(message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, message, None)
    }

    /// 500 for a fault of the fake itself, which should never be seen.
    pub(crate) fn internal(fault: &serde_json::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, &format!("fake-openrouter: {fault}"), None)
    }

    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Body::Envelope(envelope) => {
                let json = HeaderValue::from_static("application/json");
                ([(header::CONTENT_TYPE, json)], envelope.to_string()).into_response()
            }
            Body::EdgePage(page) => {
                let cloudflare = HeaderValue::from_static("cloudflare");
                ([(header::SERVER, cloudflare)], Html(page)).into_response()
            }
        };
        *response.status_mut() = self.status;
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
