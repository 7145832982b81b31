//! A streamed answer: its chunks, and what they say together.
//! Source: OpenRouter's "Streaming", "Errors and debugging" (openrouter.ai/docs).

use serde_json::value::RawValue;

use super::answer::{Answer, Body, MAX_DEPTH};
use super::json_text::{self, Fit};

/// What has been heard of a streamed answer. `usage` counts wherever it stands, the last one if there are
/// several: beside no choice, beside one that repeats the finish reason, or beside an error.
#[derive(Debug, Default)]
pub struct Transcript {
    /// All chunks together, errors included; without text.
    pub answer: Answer,
    /// Why a chunk cannot be given to the caller.
    pub unreadable: Option<String>,
    /// True once `[DONE]` has come.
    pub is_done: bool,
    /// True once an event has come that is not `[DONE]`.
    pub has_chunks: bool,
}

impl Transcript {
    /// Takes in an event's data; gives the chunk for the caller: JSON that `jsonb` takes. None where it is
    /// `[DONE]`, an error, or cannot be given.
    pub fn take(&mut self, data: &[u8]) -> Option<String> {
        let mut data = data.trim_ascii();
        // Some servers leave out the blank line before [DONE], so that it comes in one event with the last chunk.
        if let Some(last) = data.strip_suffix(b"[DONE]") {
            self.is_done = true;
            data = last.trim_ascii();
            if data.is_empty() {
                return None;
            }
        }
        self.has_chunks = true;
        let Fit { text, depth } = json_text::fit_for_jsonb(data);
        let chunk = match Body::read(&text) {
            Ok(chunk) => chunk,
            Err(error) => {
                let what = if error.is_data() { "an object" } else { "JSON" };
                self.unreadable.get_or_insert(format!("a chunk is not {what}: {error}"));
                return None;
            }
        };
        let said = chunk.answer();
        // The error is raised; text that comes with it is the caller's all the same.
        let is_row = said.has_text || !said.is_failed();
        self.hear(said);
        self.answer.changed |= text.as_bytes() != data;
        if !is_row {
            return None;
        }
        if depth > MAX_DEPTH {
            self.unreadable.get_or_insert(format!("a chunk is nested {depth} deep"));
            return None;
        }
        Some(text)
    }

    /// Takes in an event that the end of the stream cut off: it counts if nothing of it is missing.
    pub fn take_rest(&mut self, data: &[u8]) -> Option<String> {
        let is_whole = serde_json::from_slice::<&RawValue>(data).is_ok();
        if is_whole || data.trim_ascii() == b"[DONE]" { self.take(data) } else { None }
    }

    /// True if nothing of the answer is missing, as far as can be seen.
    pub fn is_whole(&self) -> bool {
        self.is_done || self.answer.finish_reason.is_some() || self.answer.usage.is_some()
    }

    fn hear(&mut self, chunk: Answer) {
        let so_far = &mut self.answer;
        // The same on all chunks: the first is journalled.
        so_far.generation_id = so_far.generation_id.take().or(chunk.generation_id);
        so_far.model = chunk.model.or(so_far.model.take());
        so_far.provider = chunk.provider.or(so_far.provider.take());
        so_far.finish_reason = chunk.finish_reason.or(so_far.finish_reason.take());
        so_far.native_finish_reason =
            chunk.native_finish_reason.or(so_far.native_finish_reason.take());
        so_far.error = chunk.error.or(so_far.error.take());
        so_far.ends_in_error |= chunk.ends_in_error;
        so_far.has_text |= chunk.has_text;
        so_far.usage = chunk.usage.or(so_far.usage.take());
    }
}

#[cfg(test)]
mod tests {
    use super::super::money::Amount;
    use super::*;

    fn heard(chunks: &[&str]) -> (Transcript, Vec<String>) {
        let mut transcript = Transcript::default();
        let rows = chunks.iter().filter_map(|chunk| transcript.take(chunk.as_bytes())).collect();
        (transcript, rows)
    }

    fn cost(transcript: &Transcript) -> Option<String> {
        match transcript.answer.usage.as_ref().map(|usage| &usage.cost) {
            Some(Amount::Known(cost)) => Some(cost.as_str().to_owned()),
            _ => None,
        }
    }

    const FIRST: &str =
        r#"{"id":"gen-1","model":"a/b","choices":[{"delta":{"role":"assistant","content":""}}]}"#;
    const WORD: &str = r#"{"id":"gen-1","choices":[{"delta":{"content":"hi"}}]}"#;
    const END: &str = r#"{"id":"gen-1","choices":[{"delta":{},"finish_reason":"stop"}]}"#;

    #[test]
    fn the_usage_counts_wherever_it_stands_and_the_last_one() {
        for choices in ["[]", r#"[{"delta":{},"finish_reason":"stop"}]"#, r#"[{"delta":{}}]"#] {
            let usage = format!(r#"{{"choices":{choices},"usage":{{"cost":4.20e-7}}}}"#);
            let (told, rows) = heard(&[FIRST, WORD, END, &usage, "[DONE]"]);
            assert_eq!(rows.len(), 4, "{choices}");
            assert_eq!(cost(&told).as_deref(), Some("4.20e-7"), "{choices}");
            assert_eq!(told.answer.finish_reason.as_deref(), Some("stop"), "{choices}");
            assert!(told.is_done && told.is_whole() && !told.answer.is_failed());
        }
        let early = r#"{"choices":[],"usage":{"cost":1}}"#;
        let late = r#"{"usage":{"cost":2}}"#;
        let (told, rows) = heard(&[early, WORD, late, r#"{"choices":[],"usage":null}"#]);
        assert_eq!((cost(&told).as_deref(), rows.len()), (Some("2"), 4));
    }

    #[test]
    fn the_first_token_is_text_reasoning_or_a_call_and_not_a_role() {
        let begins = |delta: &str| {
            heard(&[&format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#)]).0.answer.has_text
        };
        for delta in [r#"{"content":"a"}"#, r#"{"reasoning":"a"}"#, r#"{"tool_calls":[{}]}"#] {
            assert!(begins(delta), "{delta}");
        }
        for delta in ["null", "{}", r#"{"role":"assistant","content":"","tool_calls":[]}"#] {
            assert!(!begins(delta), "{delta}");
        }
    }

    #[test]
    fn an_error_is_no_chunk_and_may_tell_a_usage() {
        let plain = r#"{"id":"gen-1","error":{"code":"server_error","message":"x"},
                        "choices":[{"delta":{"content":""},"finish_reason":"error"}]}"#;
        let (told, rows) = heard(&[WORD, plain]);
        assert!(told.answer.error.is_some() && rows.len() == 1 && cost(&told).is_none());
        let told_cost = r#"{"error":{"code":400},"choices":[],"usage":{"cost":0.5}}"#;
        let (told, rows) = heard(&[WORD, told_cost, "[DONE]"]);
        assert!(told.answer.error.is_some() && told.is_done && rows.len() == 1);
        assert_eq!(cost(&told).as_deref(), Some("0.5"));
        // Of whatever type, at whatever place; the text beside it is given.
        for error in [r#""x""#, "1", "true", "[1]", r#"{"code":"429"}"#] {
            for chunk in [
                format!(r#"{{"error":{error},"choices":[{{"delta":{{"content":"half"}}}}]}}"#),
                format!(r#"{{"choices":[{{"error":{error},"delta":{{"content":"half"}}}}]}}"#),
                format!(r#"{{"choices":[{{"delta":{{"content":"half","error":{error}}}}}]}}"#),
            ] {
                let (told, rows) = heard(&[WORD, &chunk, END]);
                assert!(told.answer.error.is_some() && rows.len() == 3, "{chunk}");
            }
        }
        let (told, rows) =
            heard(&[WORD, r#"{"choices":[{"delta":{},"finish_reason":"error"}]}"#, END]);
        assert!(told.answer.is_failed() && told.answer.error.is_none() && rows.len() == 2);
    }

    #[test]
    fn a_chunk_that_jsonb_refuses_is_changed_or_left_out_and_its_usage_counts() {
        let (told, rows) =
            heard(&[r#"{"choices":[{"delta":{"content":"\u0000\ud83d"}}],"n":1e999999}"#]);
        assert_eq!(rows, [r#"{"choices":[{"delta":{"content":"\ufffd\ufffd"}}],"n":null}"#]);
        assert!(told.answer.changed && told.unreadable.is_none());
        let (open, close) = ("[".repeat(5_000), "]".repeat(5_000));
        let deep = format!(r#"{{"choices":[],"deep":{open}{close},"usage":{{"cost":3}}}}"#);
        let (told, rows) = heard(&[&deep]);
        assert!(told.unreadable.is_some() && rows.is_empty());
        assert_eq!(cost(&told).as_deref(), Some("3"));
        for junk in ["<html>", "5", "[]", "{"] {
            let (told, rows) = heard(&[junk, WORD]);
            assert!(told.unreadable.is_some() && rows.len() == 1, "{junk}");
        }
    }

    #[test]
    fn the_end_may_follow_a_chunk_at_once() {
        let (told, rows) = heard(&[&format!("{WORD}\n[DONE]")]);
        assert!(told.is_done && told.unreadable.is_none());
        assert_eq!(rows, [WORD]);
        assert!(!heard(&["[DONE]"]).0.has_chunks);
    }

    #[test]
    fn what_the_end_cuts_off_counts_if_it_is_whole() {
        let mut told = Transcript::default();
        assert!(told.take_rest(&WORD.as_bytes()[..20]).is_none() && told.unreadable.is_none());
        assert!(told.take_rest(WORD.as_bytes()).is_some());
        assert!(!told.is_whole() && told.take_rest(b"[DONE]").is_none() && told.is_whole());
    }
}
