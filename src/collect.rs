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
    SELECT c.state, (c.entry ->> 'http_status')::integer, c.entry ->> 'error_code', false, NULL, false,
           (c.entry ->> 'streamed')::boolean
    FROM hiems_private.calls AS c
    WHERE c.id = $1::uuid AND c.principal = $2 AND c.state <> 'booked'
    UNION ALL
    SELECT l.outcome, l.http_status, l.error_code, true, NULL, false, l.streamed
    FROM hiems.ai_usage_logs AS l
    WHERE l.id = $1::uuid AND l.principal = $2 AND l.calls = 1
    UNION ALL
    SELECT CASE q.state WHEN 'failed' THEN 'given_up' ELSE q.state END, NULL, NULL, false,
           q.failure::text, q.caller_xid = pg_current_xact_id_if_assigned(), false
    FROM hiems_private.queue AS q
    WHERE q.id = $1::uuid AND q.principal = $2
    ORDER BY 4 DESC LIMIT 1";

const IS_KNOWN: &str = "
    SELECT true FROM hiems_private.calls WHERE id = $1::uuid AND ($2 IS NULL OR principal = $2)
    UNION ALL
    SELECT true FROM hiems.ai_usage_logs WHERE id = $1::uuid AND ($2 IS NULL OR principal = $2)
    UNION ALL
    SELECT true FROM hiems_private.queue WHERE id = $1::uuid AND ($2 IS NULL OR principal = $2)
    LIMIT 1";

struct Ended {
    /// The journal's or the queue's state, or the ledger's outcome.
    state: String,
    http_status: Option<u16>,
    error_code: Option<String>,
    is_booked: bool,
    /// Why it was given up.
    failure: Option<Failure>,
    /// True where this transaction has enqueued it.
    is_own: bool,
    is_streamed: bool,
}

impl Ended {
    /// Why there is nothing to wait for.
    fn refusal(&self, call: Uuid) -> Option<Error> {
        match self.state.as_str() {
            _ if self.is_own => Some(Error::NotCommitted(call)),
            "paused" => Some(Error::Paused(call)),
            "given_up" => {
                let failure = self.failure.clone().unwrap_or_else(|| {
                    Failure::new(FailureKind::Unavailable, "the call could not be made")
                });
                Some(Error::Call { failure, call: Some(call) })
            }
            _ => None,
        }
    }
}

fn look(call: Uuid, principal: &str) -> SpiResult<Option<Ended>> {
    let arguments = [call.to_string().into(), principal.into()];
    let found = spi::read_latest(LOOK, &arguments, |row| {
        let status = row.get::<i32>(2)?.and_then(|status| u16::try_from(status).ok());
        let (state, error_code) = (row.get::<String>(1)?, row.get::<String>(3)?);
        let is_true = |column| Ok::<_, pgrx::spi::Error>(row.get::<bool>(column)? == Some(true));
        let (is_booked, is_own, is_streamed) = (is_true(4)?, is_true(6)?, is_true(7)?);
        let failure = row.get::<String>(5)?.and_then(|text| serde_json::from_str(&text).ok());
        Ok(state.map(|state| Ended {
            state,
            http_status: status,
            error_code,
            is_booked,
            failure,
            is_own,
            is_streamed,
        }))
    })?;
    Ok(found.into_iter().flatten().next())
}

/// True if there is such a call, queued, on its way or booked; `principal`: whose it has to be, None: anybody's.
pub fn is_known(call: Uuid, principal: Option<&str>) -> SpiResult<bool> {
    let arguments = [call.to_string().into(), principal.into()];
    Ok(!spi::read_latest(IS_KNOWN, &arguments, |_| Ok(()))?.is_empty())
}

/// Waits until one of `principal`'s calls has ended (at most until `deadline`), and gives its answer as JSON
/// text that `jsonb` takes. An error is the call's own, or says that there is no answer.
pub fn answer(call: Uuid, principal: &str, deadline: Option<Instant>) -> Result<String, Error> {
    let has_patience = deadline.is_none_or(|deadline| deadline > Instant::now());
    let mut ended = look(call, principal)?;
    let (mut is_late, mut has_waited) = (false, false);
    loop {
        if let Some(refusal) = ended.as_ref().and_then(|ended| ended.refusal(call)) {
            return Err(refusal);
        }
        // What is booked has ended; a standby has no gateway, and nothing in flight.
        let is_over = ended.as_ref().is_some_and(|ended| ended.is_booked) || xact::is_in_recovery();
        // A gateway may have been told to go while the call was still to be made: the next one knows more.
        let is_queued = ended.as_ref().is_some_and(|ended| ended.state == "queued");
        if is_over || is_late || has_waited && !is_queued {
            break;
        }
        match gateway::wait_for(call, principal, deadline) {
            Err(Error::NotEnded(_)) => is_late = true,
            waited => waited?,
        }
        has_waited = true;
        ended = look(call, principal)?;
    }
    let Some(ended) = ended else {
        // Somebody's lock keeps it out of the journal, or there is none.
        let is_there = is_late && has_patience;
        return Err(if is_there { Error::NotEnded(call) } else { Error::NoSuchAnswer(call) });
    };
    if matches!(ended.state.as_str(), "sent" | "queued") {
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
    // The events of a stream are kept as they came, and `read` takes none of them: that says how the call ended only where
    // the gateway could not read them either.
    let is_unreadable = ended.error_code.as_deref() == Some("unreadable_answer");
    match read(&HttpAnswer { status, retry_after: None, clock_skew: None, body }) {
        Outcome::Answered(answer) => Ok(answer.text),
        Outcome::Failed { error, .. } => Err(failed(error.failure)),
        Outcome::Unreadable { .. } if ended.is_streamed && !is_unreadable => {
            Err(why_not(&ended).map_or(Error::NoSuchAnswer(call), failed))
        }
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
        // Without a code its caller closed it: what there was of it, the caller has.
        "unknown" if code.is_some() => {
            Failure::new(FailureKind::BadUpstream, "the outcome of the call is not known")
        }
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
