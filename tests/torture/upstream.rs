//! What OpenRouter does to a call: every fault of the fake, and what else its answers may be.

use serde_json::{Map, Value, json};

/// One kind of answer.
#[derive(Clone, Copy, Debug)]
pub struct Upstream {
    pub name: &'static str,
    /// The wishes, without `fake_`.
    wishes: &'static [(&'static str, &'static str)],
    /// True where nothing was generated and nobody can know it: the error has no generation to ask for, and
    /// says not that nothing was billed.
    pub leaves_open: bool,
}

/// An ordinary answer.
pub const PLAIN: Upstream = Upstream { name: "plain", wishes: &[], leaves_open: false };

type Wishes = &'static [(&'static str, &'static str)];

/// Answers that come whole or not, and were generated; and errors that cost nothing.
const KNOWN: &[(&str, Wishes)] = &[
    ("reset before headers", &[("fault", "reset_before_headers")]),
    ("cut headers", &[("fault", "cut_headers")]),
    ("reset after headers", &[("fault", "reset_after_headers")]),
    ("cut length", &[("fault", "cut_length")]),
    ("cut chunked", &[("fault", "cut_chunked")]),
    ("junk", &[("fault", "junk")]),
    ("half", &[("fault", "half")]),
    ("not UTF-8", &[("fault", "not_utf8")]),
    ("nul", &[("fault", "nul")]),
    ("surrogates", &[("fault", "surrogates")]),
    ("huge number", &[("fault", "huge_number")]),
    ("deep", &[("fault", "deep")]),
    ("packed", &[("packed", "true")]),
    ("framed", &[("before", "\u{feff}"), ("after", "\n\ndata: [DONE]\n\n")]),
    ("content of parts", &[("content_parts", "true")]),
    ("error beside the choices", &[("error", "\"it broke\"")]),
    ("error in a choice", &[("error", "{\"code\":\"429\"}"), ("error_at", "choice")]),
    ("error in a message", &[("error", "true"), ("error_at", "message")]),
    ("error of no usage", &[("error", "[503]"), ("no_usage", "true")]),
    ("ends in an error untold", &[("finish_reason", "error"), ("error", "null")]),
    ("cut off", &[("finish_reason", "length")]),
    ("filtered", &[("finish_reason", "content_filter"), ("answer", "")]),
    ("no usage", &[("no_usage", "true")]),
    ("empty usage", &[("usage", "{}")]),
    ("usage out of range", &[("usage", r#"{"cost":1e999999}"#)]),
    ("no is_byok", &[("no_is_byok", "true")]),
    ("byok", &[("byok", "true")]),
    ("byok fee", &[("byok", "true"), ("cost", "0.00000051")]),
    ("cost of 19 digits", &[("cost", "0.0076509169000000005")]),
    ("cost with exponent", &[("cost", "4.2e-7")]),
    ("cost with capital exponent", &[("cost", "1.50E-05")]),
    ("large cost", &[("cost", "123456789.0000000001")]),
    ("no cost", &[("cost", "0.0")]),
    ("tool cost", &[("tool_cost", "0.02")]),
    ("empty", &[("empty", "true")]),
    ("empty with tool cost", &[("empty", "true"), ("tool_cost", "0.03")]),
    ("ends in error", &[("finish_reason", "error")]),
    ("ends in error with tool cost", &[("finish_reason", "error"), ("tool_cost", "0.01")]),
    ("billed error", &[("billed_error", "true"), ("status", "502")]),
    ("late error", &[("late_error", "502")]),
    ("late error of text", &[("late_error", "server_error")]),
    ("late billed error", &[("late_error", "502"), ("billed_error", "true")]),
    ("cache hit", &[("cache_hit", "true")]),
    ("failed attempts", &[("failed_attempts", "2")]),
    ("another body", &[("body", "[]")]),
    ("another content type", &[("content_type", "text/html")]),
    ("one 429", &[("429_times", "1"), ("retry_after", "0")]),
    ("one 503", &[("503_times", "1"), ("retry_after", "0")]),
    ("many 429", &[("429_times", "9"), ("retry_after", "0")]),
    ("400", &[("status", "400")]),
    ("402 with an id", &[("status", "402"), ("error_id", "true")]),
    ("403", &[("status", "403")]),
    ("404", &[("status", "404")]),
    ("422", &[("status", "422")]),
    (
        "429 of the platform",
        &[("429_times", "2"), ("error_shape", "platform"), ("reset_ms", "400")],
    ),
    (
        "429 that tells it in the body",
        &[("429_times", "1"), ("error_shape", "platform_body"), ("reset_ms", "1")],
    ),
    ("429 in a text", &[("429_times", "1"), ("error_shape", "text"), ("retry_after", "0.01")]),
    ("429 that is a plain text", &[("status", "429"), ("error_shape", "plain")]),
    ("400 of the edge", &[("status", "400"), ("error_shape", "page")]),
    ("422 with details", &[("status", "422"), ("error_shape", "detail")]),
    ("403 with a message", &[("status", "403"), ("error_shape", "message")]),
    ("401 in a number", &[("status", "401"), ("error_shape", "number")]),
    ("500", &[("status", "500")]),
    ("502", &[("status", "502")]),
    ("503 of no provider", &[("status", "503"), ("error_shape", "availability")]),
    ("529", &[("status", "529")]),
    ("slow", &[("delay_ms", "400")]),
    ("slow headers", &[("header_delay_ms", "400")]),
    ("slow body", &[("bytes_per_second", "4000")]),
    ("slow and dear", &[("delay_ms", "300"), ("cost", "0.9876543210987654321")]),
    ("lost and slow to be found", &[("fault", "reset_after_headers"), ("lookup_lag_ms", "1500")]),
    ("lost and hard to be found", &[("fault", "half"), ("lookup_errors", "429,500,503")]),
    ("too large", &[("answer_bytes", "300000")]),
    ("timeout before headers", &[("header_delay_ms", "2600")]),
    ("timeout after headers", &[("delay_ms", "2600")]),
];

/// Errors of which nobody can say whether they were billed.
const OPEN: &[(&str, Wishes)] = &[
    ("302", &[("status", "302")]),
    ("408", &[("status", "408")]),
    ("504", &[("status", "504")]),
    ("524 of the edge", &[("status", "524"), ("error_shape", "page")]),
    ("500 in a text", &[("status", "500"), ("error_shape", "text")]),
    ("503 that is a plain text", &[("status", "503"), ("error_shape", "plain")]),
    ("502 of the edge", &[("status", "502"), ("error_shape", "page")]),
];

/// Every kind but the plain one.
pub fn table() -> Vec<Upstream> {
    let of = |leaves_open| {
        move |(name, wishes): &(&'static str, Wishes)| Upstream { name, wishes, leaves_open }
    };
    KNOWN.iter().map(of(false)).chain(OPEN.iter().map(of(true))).collect()
}

impl Upstream {
    /// As the fake reads it in a request's metadata.
    pub fn metadata(&self) -> Map<String, Value> {
        self.wishes.iter().map(|(name, text)| (format!("fake_{name}"), json!(text))).collect()
    }
}
