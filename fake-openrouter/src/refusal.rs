//! An answer that is an error: OpenRouter's envelope, or the edge's HTML page.
//!
//! What a given status says when a request asks for it with `fake_status` is in `samples`.

mod samples;

use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

pub(crate) use samples::{late, sample};

/// OpenRouter names the account in the errors of a caller it knows.
const USER_ID: &str = "user_2fake0openrouter0account0";

/// An error response that has not been sent yet.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    headers: Box<HeaderMap>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Envelope(Value),
    Text(String),
}

impl Refusal {
    /// The envelope every caller with a key gets.
    pub(crate) fn new(status: StatusCode, message: &str, metadata: Option<Value>) -> Self {
        let mut error = json!({ "code": status.as_u16(), "message": message });
        if let Some(metadata) = metadata {
            error["metadata"] = metadata;
        }
        Self::envelope(status, json!({ "error": error, "user_id": USER_ID }))
    }

    fn envelope(status: StatusCode, envelope: Value) -> Self {
        Self { status, headers: Box::default(), body: Body::Envelope(envelope) }
            .with(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }

    /// 400 for a request that cannot be understood.
    pub(crate) fn bad_request(message: &str) -> Self {
        let metadata = json!({ "error_type": "invalid_request" });
        Self::new(StatusCode::BAD_REQUEST, message, Some(metadata))
    }

    /// 401, without an account since there is none.
    pub(crate) fn unauthorized(message: &str) -> Self {
        let body = json!({ "error": { "code": 401, "message": message } });
        Self::envelope(StatusCode::UNAUTHORIZED, body)
    }

    /// 403 for a key of the wrong kind.
    pub(crate) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, message, None)
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

    /// With a further header, or another value of one it has.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With another body.
    pub(crate) fn saying(mut self, text: String) -> Self {
        self.body = Body::Text(text);
        self
    }

    /// With what the failed generation used, where there is an envelope to say it in.
    pub(crate) fn having_used(mut self, id: &str, model: &str, usage: Option<Value>) -> Self {
        if let (Body::Envelope(envelope), Some(usage)) = (&mut self.body, usage) {
            envelope["id"] = id.into();
            envelope["model"] = model.into();
            envelope["usage"] = usage;
        }
        self
    }

    /// Status, headers and the text of the body.
    pub(crate) fn into_parts(self) -> (StatusCode, HeaderMap, String) {
        let text = match self.body {
            Body::Envelope(envelope) => envelope.to_string(),
            Body::Text(text) => text,
        };
        (self.status, *self.headers, text)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, headers, text) = self.into_parts();
        (status, headers, text).into_response()
    }
}
