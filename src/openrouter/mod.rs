//! OpenRouter's chat completions API, without PostgreSQL: nothing here may name pgrx.

pub mod answer;
pub mod client;
pub mod content;
pub mod failure;
pub mod fields;
pub mod generation;
pub mod json_text;
pub mod key_info;
pub mod money;
pub mod request;
pub mod retry;
pub mod schema;
pub mod sse;
pub mod stream;
pub mod unpack;
pub mod usage;
pub mod words;
