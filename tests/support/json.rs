//! Arguments of calls, as JSON text (`$n::text::jsonb` in SQL).

use serde_json::json;

/// `messages` with one user's message.
pub fn user_message(text: &str) -> String {
    json!([{"role": "user", "content": text}]).to_string()
}

/// `options` that tell the fake what to do, such as `[("fake_status", "402")]`.
pub fn directives(directives: &[(&str, &str)]) -> String {
    let metadata: serde_json::Map<_, _> =
        directives.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    json!({"metadata": metadata}).to_string()
}
