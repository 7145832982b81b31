//! Many calls at once.

mod row;

use std::collections::VecDeque;

use pgrx::datum::AnyNumeric;
use pgrx::iter::TableIterator;
use pgrx::prelude::*;
use uuid::Uuid;

use crate::access::{self, Level};
use crate::booking;
use crate::error::{self, Error, or_raise};
use crate::gateway::protocol::{BatchOf, Item, Many, Reply};
use crate::gateway::{Ended, Sent};
use crate::pg::arguments::Jsonb;
use crate::pg::error_detail::ErrorDetail;
use crate::pg::{interrupts, xact};
use crate::prompt;

use super::prompt::replay;
use row::{Failed, Row};

const MAX_CONCURRENCY: i32 = 10_000;

/// How many calls are booked in one statement.
const AT_ONCE: usize = 64;

/// Makes many calls at once, and gives a row for each as it ends. What each argument and column is and which
/// errors there are stands in the function's comment (`sql/90_grants_comments.sql`).
#[pg_extern(schema = "hiems", volatile, parallel_unsafe, cost = 100000)]
#[allow(clippy::type_complexity)] // the SQL signature
fn submit_prompts(
    requests: Option<Jsonb>,
    max_concurrency: default!(Option<i32>, 32),
    on_error: default!(Option<String>, "'keep'"),
) -> TableIterator<
    'static,
    (
        name!(ordinality, i32),
        name!(response, Option<Jsonb>),
        name!(content, Option<String>),
        name!(error_code, Option<String>),
        name!(error_message, Option<String>),
        name!(cost_usd, Option<AnyNumeric>),
        name!(finish_reason, Option<String>),
    ),
> {
    // The first row is waited for here: an error that is raised leaves nothing behind.
    let (first, mut batch) = or_raise(begin(requests, max_concurrency, on_error));
    let rest = std::iter::from_fn(move || or_raise(batch.next()));
    TableIterator::new(first.into_iter().chain(rest).map(Row::into_columns))
}

/// What `on_error` says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnError {
    Keep,
    Raise,
}

fn begin(
    requests: Option<Jsonb>,
    max_concurrency: Option<i32>,
    on_error: Option<String>,
) -> Result<(Option<Row>, Batch), Error> {
    prompt::check_transaction()?;
    access::require(Level::Caller)?;
    let bad = |message: &str, detail: String, hint: &str| Error::InvalidArgument {
        message: message.to_owned(),
        detail,
        hint: hint.to_owned(),
    };
    let on_error = match on_error.as_deref() {
        None | Some("keep") => OnError::Keep,
        Some("raise") => OnError::Raise,
        Some(other) => {
            let detail = format!("It is \"{}\".", other.chars().take(100).collect::<String>());
            return Err(bad("on_error is unknown", detail, "It is 'keep' or 'raise'."));
        }
    };
    let concurrency = max_concurrency.unwrap_or(32);
    if !(1..=MAX_CONCURRENCY).contains(&concurrency) {
        let hint = format!("It is from 1 to {MAX_CONCURRENCY}.");
        return Err(bad("max_concurrency is out of range", format!("It is {concurrency}."), &hint));
    }
    let requests = requests.map(|requests| requests.0);
    let mut batch = Batch::prepare(prompt::items(requests.as_deref(), &[])?, on_error)?;
    drop(requests);
    batch.send(usize::try_from(concurrency).unwrap_or(1))?;
    Ok((batch.next()?, batch))
}

/// The calls of one statement.
struct Batch {
    id: Uuid,
    on_error: OnError,
    size: usize,
    principal: String,
    /// What is sent: emptied by that.
    items: Vec<Item>,
    bodies: Vec<u8>,
    /// The rows of what could not be sent.
    refused: VecDeque<Row>,
    sent: Option<Sent>,
    /// The innermost transaction that the calls were made in.
    xid: u64,
    /// The calls that were answered; and those that are to be booked yet, with their ledger rows.
    answered: Vec<Uuid>,
    unbooked: Vec<(Uuid, Option<String>)>,
}

impl Batch {
    /// Checks all requests. An error where nothing shall be sent if one cannot be.
    fn prepare(
        items: impl ExactSizeIterator<Item = prompt::Item>,
        on_error: OnError,
    ) -> Result<Batch, Error> {
        let mut batch = Batch {
            id: Uuid::now_v7(),
            on_error,
            size: items.len(),
            principal: String::new(),
            items: Vec::new(),
            bodies: Vec::new(),
            refused: VecDeque::new(),
            sent: None,
            xid: 0,
            answered: Vec::new(),
            unbooked: Vec::new(),
        };
        for (item, position) in items.zip(1..) {
            interrupts::check();
            let prepared = item.and_then(|request| request.prompt.prepare());
            match prepared {
                Ok((submit, body)) => {
                    batch.principal.clone_from(&submit.entry.principal);
                    batch.bodies.extend_from_slice(body.as_bytes());
                    batch.items.push(Item { position, submit, length: body.len() });
                }
                Err(error) if on_error == OnError::Raise => return Err(error.in_request(position)),
                Err(error) => {
                    batch.refused.push_back(Row::failed(position, &Failed::for_nothing(error)))
                }
            }
        }
        Ok(batch)
    }

    /// Hands the calls to the gateway.
    fn send(&mut self, max_concurrency: usize) -> Result<(), Error> {
        if self.items.is_empty() {
            return Ok(());
        }
        // Before the bill, and again behind it: the calls take their time.
        booking::refuse_trigger(None)?;
        // Last, so that what is refused takes no transaction id.
        let xid = xact::top_level_xid();
        self.xid = xact::innermost_xid();
        let size = i32::try_from(self.items.len()).unwrap_or(i32::MAX);
        for item in &mut self.items {
            item.submit.xid = Some(xid);
            item.submit.batch = Some(BatchOf { id: self.id, size });
        }
        let many = Many {
            items: std::mem::take(&mut self.items),
            max_concurrency,
            stop_at_failure: self.on_error == OnError::Raise,
        };
        let _detail = self.detail();
        self.sent = Some(Sent::send(many, std::mem::take(&mut self.bodies))?);
        Ok(())
    }

    /// The next row; None after the last.
    fn next(&mut self) -> Result<Option<Row>, Error> {
        if let Some(row) = self.refused.pop_front() {
            return Ok(Some(row));
        }
        let _detail = self.detail();
        // Taken out, so that whatever breaks off here closes the connection.
        let Some(mut sent) = self.sent.take() else { return Ok(None) };
        let Some((position, call, ended)) = sent.next()? else { return Ok(None) };
        let row = match self.row(position, call, ended) {
            Err(error) if self.on_error == OnError::Raise => {
                sent.close(std::mem::take(&mut self.answered), self.xid);
                return Err((*error.error).in_request(position));
            }
            Err(failed) => Row::failed(position, &failed),
            Ok(row) => row,
        };
        if sent.left() > 0 {
            // While the others are on their way.
            if self.unbooked.len() == AT_ONCE {
                booking::book_meanwhile(&mut self.unbooked)?;
            }
            self.sent = Some(sent);
        } else {
            // With the last row, so that whoever wants no more than that has all booked.
            sent.received();
            booking::book(std::mem::take(&mut self.unbooked))?;
        }
        Ok(Some(row))
    }

    /// The row of a call that was answered; what is answered is to be booked.
    fn row(&mut self, position: i32, call: Uuid, ended: Ended) -> Result<Row, Failed> {
        match ended {
            Ended::Replied(Reply::Answered { entry, is_changed, .. }, body) => {
                if is_changed {
                    error::warn_changed(call);
                }
                // The gateway has made it fit; UTF-8 it is by then.
                let body = String::from_utf8_lossy(&body).into_owned();
                let row = Row::answered(position, body, entry.as_deref());
                self.answered.push(call);
                self.unbooked.push((call, entry));
                Ok(row)
            }
            Ended::Replied(Reply::Replay { call: first }, _) => {
                let answer = replay(first, &self.principal).map_err(Failed::for_nothing)?;
                Ok(Row::replayed(position, answer.0))
            }
            Ended::Replied(Reply::Failed { call, failure, entry }, _) => {
                let error = Error::Call { failure, call: Some(call) };
                Err(Failed::new(error, entry.as_deref()))
            }
            Ended::Replied(Reply::Refused(failure), _) => {
                Err(Failed::for_nothing(Error::Call { failure, call: None }))
            }
            Ended::Replied(..) => {
                let what = "the gateway gave an answer to another question".to_owned();
                Err(Failed::new(Error::Internal(what), None))
            }
            Ended::Unsent(error) => Err(Failed::for_nothing(error)),
            Ended::Lost(error) => Err(Failed::new(error, None)),
        }
    }

    /// What an error says that PostgreSQL raises in a wait.
    fn detail(&self) -> ErrorDetail {
        let (id, size) = (self.id, self.size);
        let left = self.sent.as_ref().map_or(size, Sent::left);
        ErrorDetail::new(
            format!(
                "batch {id}: {} of {size} requests have ended; what was sent is finished and booked",
                size - left.min(size)
            ),
            "hiems.calls and hiems.ai_usage_logs have the calls' ids; hiems.await_prompt(id) gives \
             the answers that were in flight, for a while."
                .to_owned(),
        )
    }
}

impl Drop for Batch {
    /// A LIMIT, or a cursor that is closed: nothing may be raised here, and no SQL be run.
    fn drop(&mut self) {
        // Where the transaction has failed the end of the connection says enough.
        if let Some(mut sent) = self.sent.take()
            && xact::is_under_way()
            && sent.close(std::mem::take(&mut self.answered), self.xid)
        {
            // The gateway goes by its fate, and may be gone by then.
            xact::force_durable_commit();
        }
    }
}
