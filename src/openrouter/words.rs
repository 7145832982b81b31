//! What an error says of its cause, in whatever form it says it.

use serde_json::Value;

/// The fields in which errors keep their words for people; the first of them that is there counts.
const MESSAGE: [&str; 6] = ["message", "msg", "detail", "details", "error_description", "title"];

/// The words of a body's `error`: an object, or only a text, a list or a number. The message of a provider's error is
/// often only "Provider returned error": its own words are in the metadata.
pub fn of_error(error: &Value) -> Option<String> {
    let message = of(error);
    let provider = error.pointer("/metadata/provider_name").and_then(Value::as_str);
    let raw = match error.pointer("/metadata/raw") {
        Some(Value::String(raw)) => Some(raw.clone()),
        Some(Value::Null) | None => None,
        Some(raw) => Some(raw.to_string()),
    };
    let own = match (provider, raw) {
        (Some(provider), Some(raw)) => Some(format!("{provider}: {raw}")),
        (None, raw) => raw,
        (Some(provider), None) => Some(provider.to_owned()),
    };
    match (message, own) {
        (Some(message), Some(own)) => Some(format!("{message} ({own})")),
        (message, own) => message.or(own),
    }
}

/// The words of a body that is JSON and has no `error`, as web frameworks and proxies send it.
pub fn of_body(text: &str) -> Option<String> {
    match serde_json::from_str(text).ok()? {
        Value::Object(fields) => of_fields(&fields).or_else(|| of(fields.get("errors")?)),
        list @ Value::Array(_) => of(&list),
        Value::String(text) => Some(text),
        _ => None,
    }
    .filter(|words| !words.is_empty())
}

/// The words of a body that is no JSON: a plain text, or the title of a page.
pub fn of_text(text: &str) -> Option<String> {
    let text = text.trim();
    let words = if text.starts_with('<') { title(text)? } else { text };
    Some(words.replace('\0', "\u{fffd}")).filter(|words| !words.is_empty())
}

fn of(value: &Value) -> Option<String> {
    let words = match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().filter_map(of).collect::<Vec<_>>().join("; "),
        Value::Object(fields) => return of_fields(fields),
        other => other.to_string(),
    };
    Some(words).filter(|words| !words.is_empty())
}

fn of_fields(fields: &serde_json::Map<String, Value>) -> Option<String> {
    let words = MESSAGE.iter().find_map(|name| of(fields.get(*name)?))?;
    // Which part of the request it is about.
    let place = match fields.get("loc") {
        Some(Value::Array(path)) => path.iter().filter_map(of).collect::<Vec<_>>().join("."),
        _ => String::new(),
    };
    Some(if place.is_empty() { words } else { format!("{place}: {words}") })
}

fn title(page: &str) -> Option<&str> {
    let lower = page.to_ascii_lowercase();
    ["title", "h1"].iter().find_map(|name| {
        let begin = lower.find(&format!("<{name}>"))? + name.len() + 2;
        let end = begin + lower[begin..].find(&format!("</{name}>"))?;
        Some(page[begin..end].trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_error_is_words_in_whatever_form_it_comes() {
        let cases = [
            (json!("no such model"), Some("no such model")),
            (json!({"code": 400, "message": "bad"}), Some("bad")),
            (
                json!({"detail": [{"loc": ["body", "top_p"], "msg": "too high"}]}),
                Some("body.top_p: too high"),
            ),
            (json!(["one", {"message": "two"}]), Some("one; two")),
            (json!(502), Some("502")),
            (json!(true), Some("true")),
            (
                json!({"message": "x", "metadata": {"raw": {"a": 1}, "provider_name": "Groq"}}),
                Some(r#"x (Groq: {"a":1})"#),
            ),
            (json!({"code": 400}), None),
            (json!(""), None),
        ];
        for (error, words) in cases {
            assert_eq!(of_error(&error).as_deref(), words, "{error}");
        }
    }

    #[test]
    fn a_body_without_error_says_it_elsewhere() {
        let cases = [
            (r#"{"message": "no Route matched"}"#, Some("no Route matched")),
            (r#"{"detail": "Not Found"}"#, Some("Not Found")),
            (r#"{"errors": [{"message": "a"}, "b"]}"#, Some("a; b")),
            (r#"["a"]"#, Some("a")),
            (r#""a""#, Some("a")),
            (r#"{"id": 1}"#, None),
            ("{}", None),
            ("7", None),
        ];
        for (body, words) in cases {
            assert_eq!(of_body(body).as_deref(), words, "{body}");
        }
    }

    #[test]
    fn a_plain_text_is_words_and_of_a_page_the_title() {
        assert_eq!(of_text(" slow down\n").as_deref(), Some("slow down"));
        let page = "<html><head><TITLE>\n504: Gateway</TITLE></head><h1>x</h1></html>";
        assert_eq!(of_text(page).as_deref(), Some("504: Gateway"));
        assert_eq!(of_text("<h1>Bad</h1>").as_deref(), Some("Bad"));
        for nothing in ["", " ", "<html>busy</html>", "<title>x"] {
            assert_eq!(of_text(nothing), None, "{nothing}");
        }
    }
}
