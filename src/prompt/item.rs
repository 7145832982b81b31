//! Requests that come many at a time: a JSON array of objects whose fields are the arguments of
//! `hiems.submit_prompt()`.

use std::collections::HashMap;

use serde_json::value::RawValue;
use serde_json::{Error as JsonError, from_str};

use super::Prompt;
use crate::error::Error;

/// One request; or what is wrong with it.
pub type Item = Result<Request, Error>;

/// A request out of many.
pub struct Request {
    pub prompt: Prompt,
    /// The fields that only this form of call takes, by name.
    #[allow(dead_code)]
    pub extra: HashMap<String, Box<RawValue>>,
}

const HINT: &str = r#"Example: '[{"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}]'."#;

/// The requests of a JSON array, in their order, each read when it is asked for: a million need not be in memory.
/// `extra` are the names of fields that this form of call takes apart from the arguments of
/// `hiems.submit_prompt()`. An error is of the array itself.
pub fn items<'a>(
    requests: Option<&'a str>,
    extra: &'a [&'a str],
) -> Result<impl ExactSizeIterator<Item = Item> + 'a, Error> {
    let bad = |detail: String| Error::InvalidArgument {
        message: "requests cannot be used".to_owned(),
        detail,
        hint: HINT.to_owned(),
    };
    let text = requests.ok_or_else(|| bad("They are NULL.".to_owned()))?;
    let items: Vec<&'a RawValue> =
        from_str(text).map_err(|_| bad("They are not a JSON array.".to_owned()))?;
    Ok(items.into_iter().map(move |item| request(item.get(), extra)))
}

fn request(text: &str, extra: &[&str]) -> Item {
    let bad = |detail: String| Error::InvalidArgument {
        message: "the request cannot be used".to_owned(),
        detail,
        hint: HINT.to_owned(),
    };
    let fields: HashMap<String, Box<RawValue>> =
        from_str(text).map_err(|_| bad("It is not a JSON object.".to_owned()))?;
    let mut prompt = Prompt::default();
    let mut rest = HashMap::new();
    for (name, value) in fields {
        let is_null = value.get() == "null";
        let label = match name.as_str() {
            "model" => &mut prompt.model,
            "user" => &mut prompt.user,
            "use_case" => &mut prompt.use_case,
            "session_id" => &mut prompt.session_id,
            "idempotency_key" => &mut prompt.idempotency_key,
            "messages" | "metadata" | "options" => {
                let json = Some(value.get().to_owned()).filter(|_| !is_null);
                match name.as_str() {
                    "messages" => prompt.messages = json,
                    "metadata" => prompt.metadata = json,
                    _ => prompt.options = json,
                }
                continue;
            }
            own if extra.contains(&own) => {
                if !is_null {
                    rest.insert(name, value);
                }
                continue;
            }
            _ => {
                return Err(bad(format!(
                    "It has the unknown field \"{}\".",
                    name.chars().take(100).collect::<String>()
                )));
            }
        };
        *label = text_of(&value).map_err(|_| bad(format!("Its \"{name}\" is not a text.")))?;
    }
    Ok(Request { prompt, extra: rest })
}

fn text_of(value: &RawValue) -> Result<Option<String>, JsonError> {
    from_str(value.get())
}
