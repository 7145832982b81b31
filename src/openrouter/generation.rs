//! OpenRouter's own record of a generation (GET /generation): what it cost in the end.
//! Source: OpenRouter's "API reference, Get request & usage metadata for a generation"
//! (openrouter.ai/docs/api-reference).

use std::time::Duration;

use serde::Serialize;
use serde_json::{Number, Value};

use super::answer::{HttpAnswer, without_frame};
use super::fields;
use super::json_text;
use super::money::{self, Amount};
use super::usage::is_count;

/// What the record says; None: not said. The token counts are the native ones, which are what is billed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Record {
    /// In US dollars, the literal token. Always said: a record without it is not finished.
    pub total_cost: Option<Number>,
    pub is_byok: Option<bool>,
    /// The provider's own bill, in US dollars: said only where the caller's own key paid it.
    pub upstream_cost: Option<Number>,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub finish_reason: Option<String>,
    pub native_finish_reason: Option<String>,
    pub prompt_tokens: Option<i64>,
    pub completion_tokens: Option<i64>,
    pub reasoning_tokens: Option<i64>,
    pub cached_tokens: Option<i64>,
}

/// What looking a generation up has given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookUp {
    Found(Box<Record>),
    /// Nothing so far: why, and when to ask again at the earliest. A generation is not found (404) for
    /// seconds, or minutes, after its end.
    NotYet {
        why: String,
        after: Option<Duration>,
    },
}

/// Reads the answer to the question for the generation `id`.
pub fn read(http: &HttpAnswer, id: &str) -> LookUp {
    let not_yet =
        |why: String| LookUp::NotYet { why, after: http.retry_after.map(Duration::from_secs) };
    if http.status != 200 {
        return not_yet(format!("HTTP {}", http.status));
    }
    let fit = json_text::fit_for_jsonb(&http.body);
    let body: Option<Value> = serde_json::from_str(without_frame(&fit.text)).ok();
    let Some(data) = body.as_ref().and_then(|body| body.get("data")).filter(|d| d.is_object())
    else {
        return not_yet("HTTP 200, without a record".to_owned());
    };
    let text = |name: &str| {
        data.get(name).and_then(Value::as_str).filter(|t| !t.is_empty()).map(fields::label)
    };
    if text("id").is_some_and(|other| other != id) {
        return not_yet("HTTP 200, with the record of another generation".to_owned());
    }
    let Amount::Known(total_cost) = money::amount(data.get("total_cost")) else {
        return not_yet("HTTP 200, without a total_cost".to_owned());
    };
    let count = |name: &str| data.get(name).and_then(Value::as_i64).filter(is_count);
    let is_byok = data.get("is_byok").and_then(Value::as_bool);
    let upstream_cost = money::amount(data.get("upstream_inference_cost")).known();
    LookUp::Found(Box::new(Record {
        total_cost: Some(total_cost),
        is_byok,
        upstream_cost: upstream_cost.filter(|_| is_byok == Some(true)),
        model: text("model"),
        provider: text("provider_name"),
        finish_reason: text("finish_reason"),
        native_finish_reason: text("native_finish_reason"),
        prompt_tokens: count("native_tokens_prompt"),
        completion_tokens: count("native_tokens_completion"),
        reasoning_tokens: count("native_tokens_reasoning"),
        cached_tokens: count("native_tokens_cached"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(status: u16, retry_after: Option<u64>, body: &str) -> LookUp {
        let body = body.as_bytes().to_vec();
        read(&HttpAnswer { status, retry_after, clock_skew: None, body }, "gen-1")
    }

    #[test]
    fn the_native_counts_and_every_digit_are_taken() {
        let found = read_text(
            200,
            None,
            r#"{"data": {"id": "gen-1", "total_cost": 0.00003452000000000001, "usage": 1,
                "tokens_prompt": 65, "native_tokens_prompt": 64, "tokens_completion": 116,
                "native_tokens_completion": 98, "native_tokens_cached": null, "is_byok": false,
                "upstream_inference_cost": 0, "provider_name": "DeepInfra", "finish_reason": null}}"#,
        );
        let LookUp::Found(record) = found else { panic!("{found:?}") };
        let cost = record.total_cost.as_ref().map(|cost| cost.as_str());
        assert_eq!(cost, Some("0.00003452000000000001"));
        assert_eq!((record.prompt_tokens, record.completion_tokens), (Some(64), Some(98)));
        assert_eq!((record.cached_tokens, record.upstream_cost), (None, None));
        assert_eq!(record.provider.as_deref(), Some("DeepInfra"));
        assert_eq!(record.finish_reason, None);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_record() {
        let found =
            read_text(200, None, "\u{feff}{\"data\": {\"id\": \"gen-1\", \"total_cost\": 0.5}}");
        assert!(matches!(found, LookUp::Found(_)), "{found:?}");
    }

    #[test]
    fn what_says_no_cost_says_nothing() {
        let answers = [
            (404, r#"{"error": {"code": 404, "message": "Generation gen-1 not found"}}"#),
            (200, "{}"),
            (200, "<html>"),
            (200, r#"{"data": {"id": "gen-1", "total_cost": null}}"#),
            (200, r#"{"data": {"id": "gen-1", "total_cost": 1e999}}"#),
            (200, r#"{"data": {"id": "gen-2", "total_cost": 0.1}}"#),
        ];
        for (status, body) in answers {
            let answer = read_text(status, Some(7), body);
            let after = Some(Duration::from_secs(7));
            assert!(matches!(answer, LookUp::NotYet { after: a, .. } if a == after), "{body}");
        }
    }
}
