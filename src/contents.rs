//! What was said: answers that their callers do not have, and, where `hiems.log_content` is on, prompts and
//! answers. The only owner of `hiems_private.answers` and `hiems_private.content_logs`.

use std::time::Duration;

use pgrx::spi::SpiResult;
use uuid::Uuid;

use crate::pg::{lock, spi};

const KEEP: &str = "
    INSERT INTO hiems_private.answers (call_id, principal, answer)
    VALUES ($1::uuid, $2, $3) ON CONFLICT (call_id) DO NOTHING";
const LOG: &str = "
    INSERT INTO hiems_private.content_logs (call_id, principal, request, answer)
    VALUES ($1::uuid, $2, $3, $4) ON CONFLICT (call_id) DO NOTHING";
const READ: &str = "
    SELECT answer FROM hiems_private.answers
    WHERE call_id = $1::uuid AND principal = $2 AND kept_at > now() - make_interval(secs => $3)";
const PURGE_ANSWERS: &str = "
    DELETE FROM hiems_private.answers WHERE kept_at <= now() - make_interval(secs => $1)";
const PURGE_LOGS: &str = "
    DELETE FROM hiems_private.content_logs WHERE logged_at <= now() - make_interval(secs => $1)";

/// True once this transaction may write to both tables: nobody's lock is in the way.
pub fn try_lock() -> bool {
    [c"answers", c"content_logs"].iter().all(|t| lock::try_lock_for_writing(c"hiems_private", t))
}

/// Keeps an answer, as it came.
pub fn keep(call: Uuid, principal: &str, answer: Vec<u8>) -> SpiResult<()> {
    spi::execute(KEEP, &[call.to_string().into(), principal.into(), answer.into()])
}

/// Keeps a prompt and its answer; what is no text in it is replaced.
pub fn log(call: Uuid, principal: &str, request: &[u8], answer: &[u8]) -> SpiResult<()> {
    // A text of PostgreSQL's holds no NUL.
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}");
    spi::execute(
        LOG,
        &[call.to_string().into(), principal.into(), text(request).into(), text(answer).into()],
    )
}

/// The answer to one of `principal`'s own calls, where it is kept and not older than `retention`.
pub fn read(call: Uuid, principal: &str, retention: Duration) -> SpiResult<Option<Vec<u8>>> {
    let arguments = [call.to_string().into(), principal.into(), retention.as_secs_f64().into()];
    let found = spi::read_latest(READ, &arguments, |row| row.get::<Vec<u8>>(1))?;
    Ok(found.into_iter().flatten().next())
}

/// Forgets what is older than that.
pub fn purge(answers: Duration, logs: Duration) -> SpiResult<()> {
    spi::execute(PURGE_ANSWERS, &[answers.as_secs_f64().into()])?;
    spi::execute(PURGE_LOGS, &[logs.as_secs_f64().into()])
}
