//! The rows of `hiems.submit_prompts()`.

use pgrx::datum::AnyNumeric;
use serde::Deserialize;
use serde_json::Number;

use super::super::key_check::numeric;
use crate::error::Error;
use crate::openrouter::content::Said;
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
    /// Of a call that failed, from its ledger row. An answer has its own in the response.
    finish_reason: Option<String>,
}

/// Why a call has no answer.
pub struct Failed {
    pub error: Box<Error>,
    /// What it was billed with; None: not known.
    pub cost: Option<Number>,
    pub finish_reason: Option<String>,
}

impl Failed {
    /// Nothing was sent for it.
    pub fn for_nothing(error: Error) -> Failed {
        Failed { error: Box::new(error), cost: Some(Number::from(0)), finish_reason: None }
    }

    /// Of a call that was sent, perhaps; and its ledger row where that is known.
    pub fn new(error: Error, entry: Option<&str>) -> Failed {
        let Booked { cost_usd, finish_reason } = Booked::read(entry);
        Failed { error: Box::new(error), cost: cost_usd, finish_reason }
    }
}

type Columns = (
    i32,
    Option<Jsonb>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<AnyNumeric>,
    Option<String>,
);

impl Row {
    /// Of an answer, and its ledger row where that is known by now.
    pub fn answered(position: i32, body: String, entry: Option<&str>) -> Row {
        let cost = match entry {
            Some(entry) => Booked::read(Some(entry)).cost_usd,
            None => cost_of_answer(&body),
        };
        Row { position, response: Some(body), error: None, cost, finish_reason: None }
    }

    /// Of the answer that an earlier call had; this one cost nothing.
    pub fn replayed(position: i32, body: String) -> Row {
        let cost = Some(Number::from(0));
        Row { position, response: Some(body), error: None, cost, finish_reason: None }
    }

    pub fn failed(position: i32, failed: &Failed) -> Row {
        let Failed { error, cost, finish_reason } = failed;
        let detail = error.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        // A text of PostgreSQL's holds no NUL.
        let message = format!("{error}{detail}").replace('\0', "\u{fffd}");
        let error = Some((error.sqlstate(), message));
        let (cost, finish_reason) = (cost.clone(), finish_reason.clone());
        Row { position, response: None, error, cost, finish_reason }
    }

    /// In the order of the SQL signature.
    pub fn into_columns(self) -> Columns {
        let (code, message) = self.error.unzip();
        let said = self.response.as_deref().map(Said::in_body).unwrap_or_default();
        let finish_reason = said.finish_reason.or(self.finish_reason);
        let cost = numeric(self.cost);
        let code = code.map(str::to_owned);
        (self.position, self.response.map(Jsonb), said.text, code, message, cost, finish_reason)
    }
}

/// What a ledger row says, as JSON text.
#[derive(Default, Deserialize)]
struct Booked {
    cost_usd: Option<Number>,
    finish_reason: Option<String>,
}

impl Booked {
    fn read(entry: Option<&str>) -> Booked {
        entry.and_then(|entry| serde_json::from_str(entry).ok()).unwrap_or_default()
    }
}

/// Where the ledger's row comes later.
fn cost_of_answer(body: &str) -> Option<Number> {
    let [usage] = fields::pick(body, &["usage"]).ok()?;
    Usage::read(usage?)?.cost.known()
}
