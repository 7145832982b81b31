//! Idempotency keys: the only writer of `hiems_private.idempotency_keys`. Written by the gateway, in the
//! transaction that journals the call.

use std::cell::Cell;
use std::time::Duration;

use pgrx::spi::SpiResult;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;
use crate::openrouter::failure::{Failure, FailureKind};
use crate::pg::{lock, spi, xact};
use crate::rows::ids;

/// What a caller has said of its call, to be told from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    pub key: String,
    /// Of the request's body: SHA-256, in hexadecimal digits.
    pub digest: String,
}

/// A key that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub call: Uuid,
    pub digest: String,
}

// What is as old as that, is not on its way, and has no answer any more, is as if it had never been.
macro_rules! is_over {
    ($seconds:literal) => {
        concat!(
            "k.created_at <= now() - make_interval(secs => ",
            $seconds,
            ")
             AND NOT EXISTS (SELECT FROM hiems_private.calls AS c WHERE c.id = k.call_id)
             AND NOT EXISTS (SELECT FROM hiems_private.queue AS q WHERE q.id = k.call_id)
             AND NOT EXISTS (SELECT FROM hiems_private.answers AS a
                             WHERE a.call_id = k.call_id
                               AND a.kept_at > now() - make_interval(secs => ",
            $seconds,
            "))"
        )
    };
}

const FORGET_OVER: &str = concat!(
    "DELETE FROM hiems_private.idempotency_keys AS k
     WHERE k.principal = $1 AND k.idempotency_key = $2 AND ",
    is_over!("$3")
);
const FIND: &str = "
    SELECT call_id::text, request_digest, created_at <= now() - make_interval(secs => $3)
    FROM hiems_private.idempotency_keys
    WHERE principal = $1 AND idempotency_key = $2";
const INSERT: &str = "
    INSERT INTO hiems_private.idempotency_keys (principal, idempotency_key, call_id, request_digest)
    VALUES ($1, $2, $3::uuid, $4) ON CONFLICT DO NOTHING";
const RELEASE: &str = "
    DELETE FROM hiems_private.idempotency_keys WHERE call_id = ANY ($1::uuid[])";
const PURGE: &str =
    concat!("DELETE FROM hiems_private.idempotency_keys AS k WHERE ", is_over!("$1"));

/// True once this transaction may write to the table: nobody's lock is in the way.
pub fn try_lock() -> bool {
    lock::try_lock_for_writing(c"hiems_private", c"idempotency_keys")
}

/// Who has a key of `principal`'s; one that nobody has used within `retention` is free.
pub fn find(principal: &str, key: &str, retention: Duration) -> SpiResult<Option<Taken>> {
    let arguments = || [principal.into(), key.into(), retention.as_secs_f64().into()];
    let look = || -> SpiResult<Option<(Taken, bool)>> {
        let found = spi::query(FIND, &arguments(), |row| {
            let call = row.get::<String>(1)?.and_then(|id| Uuid::parse_str(&id).ok());
            let is_old = row.get::<bool>(3)? == Some(true);
            let taken = call.zip(row.get::<String>(2)?);
            Ok(taken.map(|(call, digest)| (Taken { call, digest }, is_old)))
        })?;
        Ok(found.into_iter().flatten().next())
    };
    match look()? {
        // Behind somebody's lock on what decides, it stays taken.
        Some((_, true))
            if [c"calls", c"queue", c"answers"]
                .iter()
                .all(|table| lock::try_lock_for_reading(c"hiems_private", table)) =>
        {
            spi::execute(FORGET_OVER, &arguments())?;
            Ok(look()?.map(|(taken, _)| taken))
        }
        found => Ok(found.map(|(taken, _)| taken)),
    }
}

/// What has come of claiming a key for a call that is made later.
pub enum Claim {
    /// It is that call's.
    Taken(Uuid),
    /// It is the new call's now, with the commit of this transaction.
    New,
}

/// Claims a key in the caller's own transaction. Waits for another transaction that claims the same one; that
/// can be cancelled. The error: the key cannot be used.
pub fn claim(
    principal: &str,
    wanted: &Idempotency,
    call: Uuid,
    retention: Duration,
) -> Result<Claim, Error> {
    if retention.is_zero() {
        return Err(Error::Call { failure: no_retention(), call: None });
    }
    count_claim()?;
    lock::lock_text(&lock_text(principal, &wanted.key));
    match find(principal, &wanted.key, retention)? {
        Some(taken) if taken.digest == wanted.digest => Ok(Claim::Taken(taken.call)),
        Some(taken) => Err(Error::Call { failure: other_content(taken.call), call: None }),
        None => {
            take(principal, wanted, call)?;
            Ok(Claim::New)
        }
    }
}

thread_local! {
    /// The last transaction that has claimed keys, and how many.
    static CLAIMED: Cell<(u64, usize)> = const { Cell::new((0, 0)) };
}

/// Each claim holds a lock until the end of the transaction, and all transactions have but so many together.
fn count_claim() -> Result<(), Error> {
    let xid = xact::top_level_xid();
    let (before, claimed) = CLAIMED.get();
    let claimed = if before == xid { claimed + 1 } else { 1 };
    let most = lock::most_texts();
    if claimed > most {
        let what = "too many idempotency keys are claimed in this transaction";
        let failure = Failure::new(FailureKind::TooLarge, what)
            .detail(format!(
                "It may claim {most}, a quarter of max_locks_per_transaction * max_connections."
            ))
            .hint("Commit in between, or raise max_locks_per_transaction and restart PostgreSQL.");
        return Err(Error::Call { failure, call: None });
    }
    CLAIMED.set((xid, claimed));
    Ok(())
}

/// True once no other transaction is about to claim a key, until the end of this one.
pub fn is_free_to_claim(principal: &str, key: &str) -> bool {
    lock::try_lock_text(&lock_text(principal, key))
}

fn lock_text(principal: &str, key: &str) -> String {
    format!("{}:{principal}{key}", principal.len())
}

/// Why a key cannot be used: it names another request.
pub fn other_content(call: Uuid) -> Failure {
    Failure::new(FailureKind::InvalidRequest, "the idempotency_key was used for another request")
        .detail(format!("call {call} has the same key, and another content"))
        .hint("Take a new key for a new request.")
}

/// Why a key cannot be used: nothing would be kept.
pub fn no_retention() -> Failure {
    Failure::new(FailureKind::InvalidRequest, "idempotency_key cannot be used here")
        .detail("no answer is kept that could be given a second time")
        .hint("A superuser sets hiems.answer_retention to more than 0.")
}

/// Takes a key for a call that is about to be sent.
pub fn take(principal: &str, idempotency: &Idempotency, call: Uuid) -> SpiResult<()> {
    let Idempotency { key, digest } = idempotency;
    let arguments =
        [principal.into(), key.as_str().into(), call.to_string().into(), digest.as_str().into()];
    spi::execute(INSERT, &arguments)
}

/// Sets the keys of these calls free: they were surely not billed. Behind somebody's lock they stay taken,
/// until they are old: nobody waits for that.
pub fn release(calls: &[Uuid]) -> SpiResult<()> {
    if calls.is_empty() || !try_lock() {
        return Ok(());
    }
    spi::execute(RELEASE, &[ids(calls).into()])
}

/// Sets the key of a call free that is not made, with the caller's own transaction.
pub fn release_now(call: Uuid) -> SpiResult<()> {
    spi::execute(RELEASE, &[ids(&[call]).into()])
}

/// Forgets what is older than that, and over.
pub fn purge(retention: Duration) -> SpiResult<()> {
    spi::execute(PURGE, &[retention.as_secs_f64().into()])
}
