//! What has become of a call whose answer its caller does not have: the answer, or why there is none.

use std::time::{Duration, Instant};

use pgrx::spi::SpiResult;
use uuid::Uuid;

use crate::contents;
use crate::error::Error;
use crate::gateway;
use crate::openrouter::answer::{HttpAnswer, Outcome, read};
use crate::openrouter::failure::{Failure, FailureKind};
use crate::pg::{spi, xact};
use crate::settings;

// As things are now, not as they were when this transaction began.
const LOOK: &str = "
    SELECT c.state, (c.entry ->> 'http_status')::integer, c.entry ->> 'error_code', false
    FROM hiems_private.calls AS c
    WHERE c.id = $1::uuid AND c.principal = $2 AND c.state <> 'booked'
    UNION ALL
    SELECT l.outcome, l.http_status, l.error_code, true
    FROM hiems.ai_usage_logs AS l
    WHERE l.id = $1::uuid AND l.principal = $2 AND l.calls = 1
    ORDER BY 4 DESC LIMIT 1";

struct Ended {
    /// The journal's state, or the ledger's outcome.
    state: String,
    http_status: Option<u16>,
    error_code: Option<String>,
    is_booked: bool,
}

fn look(call: Uuid, principal: &str) -> SpiResult<Option<Ended>> {
    let arguments = [call.to_string().into(), principal.into()];
    let found = spi::read_latest(LOOK, &arguments, |row| {
        let status = row.get::<i32>(2)?.and_then(|status| u16::try_from(status).ok());
        let (state, error_code) = (row.get::<String>(1)?, row.get::<String>(3)?);
        let is_booked = row.get::<bool>(4)? == Some(true);
        Ok(state.map(|state| Ended { state, http_status: status, error_code, is_booked }))
    })?;
    Ok(found.into_iter().flatten().next())
}

/// Waits until one of `principal`'s calls has ended (at most until `deadline`), and gives its answer as JSON
/// text that `jsonb` takes. An error is the call's own, or says that there is no answer.
pub fn answer(call: Uuid, principal: &str, deadline: Option<Instant>) -> Result<String, Error> {
    let has_patience = deadline.is_none_or(|deadline| deadline > Instant::now());
    let mut ended = look(call, principal)?;
    let mut is_late = false;
    // What is booked has ended; a standby has no gateway, and nothing in flight.
    if !ended.as_ref().is_some_and(|ended| ended.is_booked) && !xact::is_in_recovery() {
        match gateway::wait_for(call, deadline) {
            Err(Error::NotEnded(_)) => is_late = true,
            waited => waited?,
        }
        ended = look(call, principal)?;
    }
    let Some(ended) = ended else {
        // Somebody's lock keeps it out of the journal, or there is none.
        let is_there = is_late && has_patience;
        return Err(if is_there { Error::NotEnded(call) } else { Error::NoSuchAnswer(call) });
    };
    if ended.state == "sent" {
        return Err(Error::NotEnded(call));
    }
    let failed = |failure| Error::Call { failure, call: Some(call) };
    let Some(body) = contents::read(call, principal, settings::answer_retention())? else {
        return Err(match why_not(&ended) {
            Some(failure) => failed(failure),
            None if is_late => Error::NotEnded(call),
            None => Error::NoSuchAnswer(call),
        });
    };
    let status = ended.http_status.unwrap_or(200);
    match read(&HttpAnswer { status, retry_after: None, clock_skew: None, body }) {
        Outcome::Answered(answer) => Ok(answer.text),
        Outcome::Failed { error, .. } => Err(failed(error.failure)),
        Outcome::Unreadable { why, .. } => Err(failed(Failure::unreadable(why))),
    }
}

/// Why a call has no answer; None where it had one.
fn why_not(ended: &Ended) -> Option<Failure> {
    let code = ended.error_code.as_deref();
    let failure = match ended.state.as_str() {
        "failed" | "unknown" if code == Some("timeout") => {
            Failure::new(FailureKind::Timeout, "OpenRouter did not answer in time")
        }
        "unknown" => Failure::new(FailureKind::BadUpstream, "the outcome of the call is not known"),
        "failed" => Failure::new(FailureKind::BadUpstream, "the call failed"),
        _ => return None,
    };
    Some(failure.detail(code.unwrap_or_default()))
}

/// The end of a wait of so many microseconds from now; None: there is none.
pub fn deadline(microseconds: Option<i64>) -> Option<Instant> {
    let wait = Duration::from_micros(u64::try_from(microseconds?).unwrap_or_default());
    // What is further than the clock goes is no end.
    Instant::now().checked_add(wait)
}
