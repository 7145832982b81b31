//! The forms of a call. A new one is a line here, and a row of `FORMS`.

use hiems_tests::user_message;
use serde_json::{Map, Value, json};

/// A function that calls a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    SubmitPrompt,
    /// Twice under one idempotency key: the second is the first one's answer.
    Keyed,
    /// Three at a time in one statement, each under a label of its own; an error is raised.
    Batch,
    /// The same, but that nobody reads further than the first row.
    BatchClosed,
    Complete,
    /// An answer that has to match a schema.
    Extract,
    /// A stream, fetched to its end.
    Stream,
    /// Its first row only.
    StreamClosed,
    /// Enqueued: it is made, whatever happens, if the transaction commits.
    Queued,
    /// A procedure, which ends its caller's transaction itself.
    Detached,
}

/// All of them.
pub const FORMS: &[Form] = &[
    Form::SubmitPrompt,
    Form::Keyed,
    Form::Batch,
    Form::BatchClosed,
    Form::Complete,
    Form::Extract,
    Form::Stream,
    Form::StreamClosed,
    Form::Queued,
    Form::Detached,
];

const MODELS: [&str; 3] =
    ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4.5", "meta-llama/llama-3.3-70b-instruct:free"];

/// What follows the label of a call in the labels of those that are made with it.
pub const SUFFIXES: [&str; 3] = ["", "+2", "+3"];

impl Form {
    /// True where some of its calls are committed, and others are not.
    pub fn is_mixed(self) -> bool {
        matches!(self, Form::BatchClosed | Form::StreamClosed)
    }

    /// The labels of the calls that it makes for one label.
    pub fn labels(self, label: &str) -> impl Iterator<Item = String> {
        let count =
            if matches!(self, Form::Batch | Form::BatchClosed) { SUFFIXES.len() } else { 1 };
        SUFFIXES[..count].iter().map(move |suffix| format!("{label}{suffix}"))
    }
}

/// One call as an expression of SQL.
pub struct Call {
    pub form: Form,
    /// Unique: the bill and the ledger both have it, as `user`.
    pub label: String,
    /// For the fake; [`Form::Complete`] cannot say it.
    pub metadata: Map<String, Value>,
}

impl Call {
    /// A statement that makes it.
    pub fn statement(&self) -> String {
        let verb = if self.form == Form::Detached { "CALL" } else { "SELECT" };
        format!("{verb} {}", self.sql())
    }

    /// The expression.
    pub fn sql(&self) -> String {
        self.sql_with(&quote(&self.label))
    }

    /// The expression, its label followed by a dash and the number in column `i`.
    pub fn sql_numbered(&self) -> String {
        self.sql_with(&format!("{} || i", quote(&format!("{}-", self.label))))
    }

    fn sql_with(&self, label: &str) -> String {
        let place: usize = self.label.bytes().map(usize::from).sum();
        let model = quote(MODELS[place % MODELS.len()]);
        let question = format!("torture {}", self.label);
        let mut options = json!({ "metadata": self.metadata });
        if self.metadata.contains_key("fake_tool_cost") {
            options["plugins"] = json!([{ "id": "web" }]);
        }
        match self.form {
            Form::Stream | Form::StreamClosed => {
                let stream = format!(
                    "hiems.stream_prompt({model}, {}::jsonb, \"user\" => {label}, \
                     use_case => 'torture', options => {}::jsonb)",
                    quote(&user_message(&question)),
                    quote(&options.to_string())
                );
                match self.form {
                    Form::Stream => format!("(SELECT jsonb_agg(c) FROM {stream} AS c)"),
                    // In FROM it would be fetched to its end first.
                    _ => format!("(SELECT {stream} LIMIT 1)"),
                }
            }
            Form::SubmitPrompt | Form::Keyed | Form::Queued | Form::Detached => {
                let call = |function: &str, key: &str| {
                    format!(
                        "hiems.{function}({model}, {}::jsonb, \"user\" => {label}, \
                         use_case => 'torture', options => {}::jsonb{key})",
                        quote(&user_message(&question)),
                        quote(&options.to_string())
                    )
                };
                match self.form {
                    Form::Keyed => {
                        let key = format!(", idempotency_key => {label}");
                        let keyed = call("submit_prompt", &key);
                        format!("({keyed} || {keyed})")
                    }
                    Form::Queued => call("enqueue_prompt", ", max_attempts => 4"),
                    Form::Detached => call("submit_prompt_detached", ""),
                    _ => call("submit_prompt", ""),
                }
            }
            Form::Batch | Form::BatchClosed => {
                let suffixes = SUFFIXES.map(|suffix| format!("\"{suffix}\"")).join(",");
                let submit = format!(
                    "hiems.submit_prompts((
                         SELECT jsonb_agg(jsonb_build_object(
                             'model', {model}, 'messages', {}::jsonb, 'user', ({label}) || suffix,
                             'use_case', 'torture', 'options', {}::jsonb))
                         FROM unnest({}::text[]) AS suffix), on_error => 'raise')",
                    quote(&user_message(&question)),
                    quote(&options.to_string()),
                    quote(&format!("{{{suffixes}}}"))
                );
                match self.form {
                    Form::Batch => format!("(SELECT string_agg(content, ' ') FROM {submit})"),
                    _ => format!("(SELECT (r).content FROM (SELECT {submit} AS r) AS t LIMIT 1)"),
                }
            }
            Form::Extract => {
                let mut metadata = self.metadata.clone();
                metadata.entry("fake_answer").or_insert(json!(r#"{"amount": 1.10}"#));
                let schema = json!({"type": "object", "required": ["amount"]});
                format!(
                    "hiems.extract({}, {}::jsonb, {model}, \"user\" => {label}, \
                     use_case => 'torture', options => {}::jsonb)",
                    quote(&question),
                    quote(&schema.to_string()),
                    quote(&json!({ "metadata": metadata }).to_string())
                )
            }
            Form::Complete => format!(
                "hiems.complete({}, {model}, \"user\" => {label}, use_case => 'torture')",
                quote(&question)
            ),
        }
    }
}

/// A literal of SQL.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
