//! The rows of `hiems.submit_prompts()`.

use pgrx::datum::AnyNumeric;
use serde::Deserialize;
use serde_json::Number;

use super::super::key_check::numeric;
use super::super::prompt::text_of;
use crate::error::Error;
use crate::openrouter::fields;
use crate::openrouter::usage::Usage;
use crate::pg::arguments::Jsonb;

/// One row.
pub struct Row {
    position: i32,
    response: Option<String>,
    /// SQLSTATE and message.
    error: Option<(&'static str, String)>,
    /// None: not known.
    cost: Option<Number>,
}

/// Why a call has no answer.
pub struct Failed {
    pub error: Box<Error>,
    /// What it was billed with; None: not known.
    pub cost: Option<Number>,
}

impl Failed {
    /// Nothing was sent for it.
    pub fn for_nothing(error: Error) -> Failed {
        Failed::new(error, Some(Number::from(0)))
    }

    pub fn new(error: Error, cost: Option<Number>) -> Failed {
        Failed { error: Box::new(error), cost }
    }
}

type Columns =
    (i32, Option<Jsonb>, Option<String>, Option<String>, Option<String>, Option<AnyNumeric>);

impl Row {
    /// Of an answer, and its ledger row where that is known by now.
    pub fn answered(position: i32, body: String, entry: Option<&str>) -> Row {
        let cost = match entry {
            Some(entry) => cost(Some(entry)),
            None => cost_of_answer(&body),
        };
        Row { position, response: Some(body), error: None, cost }
    }

    /// Of the answer that an earlier call had; this one cost nothing.
    pub fn replayed(position: i32, body: String) -> Row {
        Row { position, response: Some(body), error: None, cost: Some(Number::from(0)) }
    }

    pub fn failed(position: i32, failed: &Failed) -> Row {
        let Failed { error, cost } = failed;
        let detail = error.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        // A text of PostgreSQL's holds no NUL.
        let message = format!("{error}{detail}").replace('\0', "\u{fffd}");
        let error = Some((error.sqlstate(), message));
        Row { position, response: None, error, cost: cost.clone() }
    }

    /// In the order of the SQL signature.
    pub fn into_columns(self) -> Columns {
        let (code, message) = self.error.unzip();
        let content = self.response.as_deref().and_then(text_of);
        let cost = numeric(self.cost);
        let code = code.map(str::to_owned);
        (self.position, self.response.map(Jsonb), content, code, message, cost)
    }
}

/// The cost that a ledger row says, as JSON text.
pub fn cost(entry: Option<&str>) -> Option<Number> {
    #[derive(Deserialize)]
    struct Cost {
        cost_usd: Option<Number>,
    }
    serde_json::from_str::<Cost>(entry?).ok()?.cost_usd
}

/// Where the ledger's row comes later.
fn cost_of_answer(body: &str) -> Option<Number> {
    let [usage] = fields::pick(body, &["usage"]).ok()?;
    Usage::read(usage?)?.cost.known()
}
