//! Calls that are made later: enqueue, cancel, and have paused ones made after all.

use std::ops::RangeInclusive;
use std::str::FromStr;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::SetOfIterator;
use pgrx::prelude::*;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::access::{self, Level};
use crate::booking;
use crate::caller;
use crate::collect;
use crate::error::{Error, or_raise};
use crate::gateway;
use crate::idempotency::{self, Claim};
use crate::pg::arguments::Jsonb;
use crate::pg::interrupts;
use crate::prompt::{self, Prompt, Request};
use crate::queue::{self, NewJob};
use crate::settings;

/// Enqueues a call, and returns its id; the gateway makes it once this transaction is committed. See the
/// function's comment (`sql/90_grants_comments.sql`).
#[pg_extern(schema = "hiems", volatile, parallel_unsafe, cost = 100000)]
#[allow(clippy::too_many_arguments)] // the SQL signature
fn enqueue_prompt(
    model: Option<String>,
    messages: Option<Jsonb>,
    user: default!(Option<String>, "NULL"),
    use_case: default!(Option<String>, "NULL"),
    session_id: default!(Option<String>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    options: default!(Option<Jsonb>, "NULL"),
    idempotency_key: default!(Option<String>, "NULL"),
    run_at: default!(Option<TimestampWithTimeZone>, "NULL"),
    priority: default!(Option<i32>, "NULL"),
    max_attempts: default!(Option<i32>, "NULL"),
) -> pgrx::Uuid {
    let prompt = Prompt::new(model, messages, user, use_case, session_id, metadata, options);
    let prompt = Prompt { idempotency_key, ..prompt };
    let wishes = Wishes { run_at, priority, max_attempts };
    or_raise(enqueue_one(prompt, wishes))
}

/// Enqueues many calls, and returns their ids in the order of the requests; see the function's comment.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe, cost = 100000)]
fn enqueue_prompts(requests: Option<Jsonb>) -> SetOfIterator<'static, pgrx::Uuid> {
    SetOfIterator::new(or_raise(enqueue_many(requests)))
}

/// Takes a call out of the queue; see the function's comment.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn cancel_prompt(id: Option<pgrx::Uuid>) -> Option<bool> {
    or_raise(cancel(id))
}

/// Has paused calls made after all; see the function's comment.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn resume_prompts() -> i64 {
    or_raise(resume())
}

/// What the queue alone takes of a call.
struct Wishes {
    run_at: Option<TimestampWithTimeZone>,
    priority: Option<i32>,
    max_attempts: Option<i32>,
}

const EXTRA: [&str; 3] = ["run_at", "priority", "max_attempts"];

/// With the waits between them some 17 minutes.
const DEFAULT_ATTEMPTS: i32 = 10;
const MOST_ATTEMPTS: i32 = 1_000;

/// Above 0 for the levels service and admin alone: they go before everybody's.
const PRIORITIES: RangeInclusive<i32> = -100..=100;

/// How many are written by one statement.
const CHUNK: usize = 5_000;

fn enqueue_one(prompt: Prompt, wishes: Wishes) -> Result<pgrx::Uuid, Error> {
    check()?;
    let id = match claim(prompt, wishes, &mut None)? {
        Claimed::Anew(job) => {
            let id = job.entry.id;
            queue::enqueue(vec![*job])?;
            id
        }
        Claimed::Already(id) => id,
    };
    gateway::look_at_end()?;
    Ok(sql_uuid(id))
}

fn enqueue_many(requests: Option<Jsonb>) -> Result<Vec<pgrx::Uuid>, Error> {
    check()?;
    access::require(Level::Caller)?;
    let requests = requests.map(|requests| requests.0);
    let requests = prompt::items(requests.as_deref(), &EXTRA)?;
    let mut ids = Vec::with_capacity(requests.len());
    let mut jobs = Vec::new();
    let mut may_go_first = None;
    for (i, request) in requests.enumerate() {
        interrupts::check();
        let position = i32::try_from(i + 1).unwrap_or(i32::MAX);
        let claimed = request.and_then(|Request { prompt, extra }| {
            let wishes = Wishes {
                run_at: point_in_time(extra.get("run_at").map(|value| value.get()))?,
                priority: number(extra.get("priority").map(|value| value.get()), "priority")?,
                max_attempts: number(
                    extra.get("max_attempts").map(|value| value.get()),
                    "max_attempts",
                )?,
            };
            claim(prompt, wishes, &mut may_go_first)
        });
        match claimed.map_err(|error| error.in_request(position))? {
            Claimed::Anew(job) => {
                ids.push(sql_uuid(job.entry.id));
                jobs.push(*job);
            }
            Claimed::Already(id) => ids.push(sql_uuid(id)),
        }
        if jobs.len() == CHUNK {
            queue::enqueue(std::mem::take(&mut jobs))?;
        }
    }
    if !jobs.is_empty() {
        queue::enqueue(jobs)?;
    }
    if !ids.is_empty() {
        gateway::look_at_end()?;
    }
    Ok(ids)
}

fn check() -> Result<(), Error> {
    prompt::check_transaction()?;
    // What cannot be booked is not to be sent.
    booking::refuse_trigger(None)
}

enum Claimed {
    Anew(Box<NewJob>),
    /// A call of the same idempotency key.
    Already(Uuid),
}

/// `may_go_first`: whether the caller may have a priority above 0, once that is known.
fn claim(
    prompt: Prompt,
    wishes: Wishes,
    may_go_first: &mut Option<bool>,
) -> Result<Claimed, Error> {
    let bad = |message: &str, detail: String, hint: &str| Error::InvalidArgument {
        message: message.to_owned(),
        detail,
        hint: hint.to_owned(),
    };
    let max_attempts = wishes.max_attempts.unwrap_or(DEFAULT_ATTEMPTS);
    if !(1..=MOST_ATTEMPTS).contains(&max_attempts) {
        return Err(bad(
            "max_attempts cannot be used",
            format!("It is {max_attempts}."),
            "It may be 1 to 1000; 1: what was refused is not sent again.",
        ));
    }
    let bad_time = |detail: String| {
        let hint = "Leave it out to have the call made as soon as there is room.";
        bad("run_at cannot be used", detail, hint)
    };
    let priority = wishes.priority.unwrap_or(0);
    if !PRIORITIES.contains(&priority) {
        return Err(bad(
            "priority cannot be used",
            format!("It is {priority}."),
            "It may be -100 to 100; without one it is 0.",
        ));
    }
    if priority > 0 {
        let may = match *may_go_first {
            Some(may) => may,
            None => access::has_level(Level::Service)? || access::has_level(Level::Admin)?,
        };
        *may_go_first = Some(may);
        if !may {
            return Err(Error::Priority(priority));
        }
    }
    let run_at = wishes.run_at.map(|run_at| match run_at.is_finite() {
        // A session may have a TimeZone whose offset no timestamptz is read with.
        true => run_at.to_iso_string_with_timezone("UTC").map_err(|e| bad_time(format!("{e}."))),
        false => Err(bad_time("It is infinite.".to_owned())),
    });
    let run_at = run_at.transpose()?;
    let (submit, body) = prompt.prepare()?;
    if let Some(wanted) = &submit.idempotency {
        let retention = settings::answer_retention();
        let entry = &submit.entry;
        if let Claim::Taken(id) = idempotency::claim(&entry.principal, wanted, entry.id, retention)?
        {
            return Ok(Claimed::Already(id));
        }
    }
    Ok(Claimed::Anew(Box::new(NewJob {
        id: submit.entry.id,
        run_at,
        priority,
        max_attempts,
        charges_beyond_tokens: submit.charges_beyond_tokens,
        entry: submit.entry,
        body,
    })))
}

fn cancel(id: Option<pgrx::Uuid>) -> Result<Option<bool>, Error> {
    access::require_to_change(Level::Caller)?;
    let Some(id) = id else { return Ok(None) };
    let id = Uuid::from_bytes(*id);
    // A token's session without a subject owns nothing.
    let principal = caller::current_principal()?;
    let whose = match access::has_level(Level::Admin)? {
        true => None,
        false => Some(principal.as_deref().ok_or(Error::NoSuchCall(id))?),
    };
    if queue::cancel(id, whose)? {
        idempotency::release_now(id)?;
        gateway::look_at_end()?;
        return Ok(Some(true));
    }
    match collect::is_known(id, whose)? {
        true => Ok(Some(false)),
        false => Err(Error::NoSuchCall(id)),
    }
}

fn resume() -> Result<i64, Error> {
    access::require_to_change(Level::Admin)?;
    let count = queue::resume()?;
    gateway::look_at_end()?;
    Ok(count)
}

fn point_in_time(text: Option<&str>) -> Result<Option<TimestampWithTimeZone>, Error> {
    let bad = || Error::InvalidArgument {
        message: "run_at cannot be used".to_owned(),
        detail: "It is not a text with a point in time.".to_owned(),
        hint: r#"Example: {"run_at": "2030-01-01 08:00:00+01"}."#.to_owned(),
    };
    let Some(text) = text else { return Ok(None) };
    let text: String = serde_json::from_str(text).map_err(|_| bad())?;
    TimestampWithTimeZone::from_str(&text).map(Some).map_err(|_| bad())
}

fn number<T: DeserializeOwned>(text: Option<&str>, name: &str) -> Result<Option<T>, Error> {
    let bad = |_| Error::InvalidArgument {
        message: format!("{name} cannot be used"),
        detail: "It is not a whole number within its range.".to_owned(),
        hint: String::new(),
    };
    text.map(serde_json::from_str).transpose().map_err(bad)
}

fn sql_uuid(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}
