//! Private broadcast: an event per booked call, by `realtime.send`, in transactions of the gateway's own. Nothing
//! waits for it: where Realtime's table is locked, slow or broken, events wait for a while, and are dropped then.
//!
//! It is sent as `service_role`, not with hiems's own rights: the function, and triggers on the table, are other
//! people's. Where they cannot be cancelled the gateway ends, and the next ones send nothing until an admin has enabled it
//! again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pgrx::log;
use pgrx::spi::SpiResult;
use uuid::Uuid;

use crate::gateway::protocol::Files;
use crate::pg::xact::{self, Aborted};
use crate::pg::{identity, lock, session, spi};
use crate::rows::ids;

/// How many rows go into a transaction: callers wait meanwhile.
const CHUNK: usize = 10;
/// How long such a transaction may take, once; after that it is left alone for a while.
const PATIENCE: Duration = Duration::from_millis(100);
/// The wait after a failure, which doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How many rows wait at most: the oldest are dropped.
const MOST: usize = 1000;
/// How often it is looked whether a message can be written: realtime.send itself tells nobody.
const PROBE_INTERVAL: Duration = Duration::from_secs(60);
const LOG_INTERVAL: Duration = Duration::from_secs(600);

/// What is to be sent; of the gateway's main thread.
#[derive(Default)]
struct Outbox {
    rows: VecDeque<Uuid>,
    is_on: bool,
    failures: u32,
    not_before: Option<Instant>,
    probed: Option<Instant>,
    logged: Option<Instant>,
}

thread_local! {
    static OUTBOX: RefCell<Outbox> = RefCell::new(Outbox::default());
}

// A table that somebody else put in that one's place is not the one that an admin enabled.
const IS_ON: &str = "
    SELECT FROM hiems_private.broadcast AS b JOIN pg_policy AS p ON p.polrelid = b.messages
    WHERE b.messages = to_regclass('realtime.messages') AND p.polname = 'hiems_usage'
      AND to_regprocedure('realtime.send(jsonb, text, text, boolean)') IS NOT NULL";

/// Has these ledger rows broadcast, where that is enabled, once they are committed. Those of a transaction that
/// is not are not found then.
pub fn add(rows: &[Uuid]) -> SpiResult<()> {
    let is_on = identity::schema_exists(c"realtime")
        && !spi::read(IS_ON, &[], |_| Ok(()))?.is_empty()
        && !is_given_up();
    OUTBOX.with_borrow_mut(|outbox| {
        outbox.is_on = is_on;
        if !is_on {
            outbox.rows.clear();
            return;
        }
        for row in rows {
            if !outbox.rows.contains(row) {
                outbox.rows.push_back(*row);
            }
        }
        let beyond = outbox.rows.len().saturating_sub(MOST);
        outbox.rows.drain(..beyond);
    });
    Ok(())
}

/// True if a gateway had to end since what it broadcast by did not, and nobody has enabled it again.
pub fn is_given_up() -> bool {
    Files::no_broadcast(identity::database_oid()).exists()
}

/// Has the gateway try again.
pub fn try_again() {
    // It is there only where it was given up.
    let _ = std::fs::remove_file(Files::no_broadcast(identity::database_oid()));
}

/// Of a gateway that ends.
fn give_up() {
    // Without the file the next gateway tries, and ends again.
    let _ = std::fs::write(Files::no_broadcast(identity::database_oid()), []);
    log!(
        "the hiems gateway ends, since realtime.send() or a trigger on realtime.messages cannot be cancelled; the next \
         one broadcasts nothing until an admin calls hiems.enable_supabase()"
    );
}

/// True if it was enabled when it was last looked.
pub fn is_on() -> bool {
    OUTBOX.with_borrow(|outbox| outbox.is_on)
}

/// How long until there is something to send; None: nothing waits.
pub fn due_in() -> Option<Duration> {
    OUTBOX.with_borrow(|outbox| {
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        (!outbox.rows.is_empty()).then(|| outbox.not_before.map(until).unwrap_or_default())
    })
}

// A probe, as Realtime's own: it is rolled back.
const PROBE: &str = "
    INSERT INTO realtime.messages (topic, extension, private) VALUES ('hiems:usage', 'broadcast', true)";

// What was said and answered is in no column of the ledger; metadata is left out as well.
const EVENTS: &str = "
    SELECT jsonb_build_object(
               'id', l.id, 'adjusts', l.adjusts, 'calls', l.calls, 'created_at', l.created_at,
               'booked_at', l.booked_at, 'model', l.model, 'model_requested', l.model_requested,
               'user_id', l.user_id, 'use_case', l.use_case, 'prompt_tokens', l.prompt_tokens,
               'completion_tokens', l.completion_tokens, 'total_tokens', l.total_tokens,
               'cost_usd', l.cost_usd, 'cost_sek', l.cost_sek, 'cost_source', l.cost_source,
               'outcome', l.outcome, 'latency_ms', l.latency_ms)::text,
           t.topic
    FROM hiems.ai_usage_logs AS l,
         unnest(ARRAY['hiems:usage',
                      CASE WHEN starts_with(l.principal, 'jwt:')
                           THEN 'hiems:user:' || substr(l.principal, 5) END]) AS t (topic)
    WHERE l.id = ANY ($1::uuid[]) AND t.topic IS NOT NULL
    ORDER BY l.created_at, l.id";

const SEND: &str = "SELECT realtime.send($1::jsonb, 'usage', $2, true)";

/// Sends what is due, if anything is. Fails and waits for nothing.
pub fn send() {
    if due_in() != Some(Duration::ZERO) {
        return;
    }
    let (rows, probes) = OUTBOX.with_borrow_mut(|outbox| {
        let count = outbox.rows.len().min(CHUNK);
        let probes = outbox.probed.is_none_or(|at| at.elapsed() >= PROBE_INTERVAL);
        (outbox.rows.drain(..count).collect::<Vec<_>>(), probes)
    });
    let probed = if probes { probe() } else { Ok(()) };
    let is_probed = probed.is_ok();
    match probed.and_then(|()| send_rows(&rows)) {
        Ok(()) => OUTBOX.with_borrow_mut(|outbox| {
            (outbox.failures, outbox.not_before) = (0, None);
        }),
        Err(aborted) => OUTBOX.with_borrow_mut(|outbox| {
            // Something else may be wrong with these rows alone: they are not tried again.
            if aborted.lock_not_available || !is_probed {
                outbox.put_back(&rows);
            }
            outbox.fail(&aborted);
        }),
    }
}

impl Outbox {
    fn put_back(&mut self, rows: &[Uuid]) {
        for row in rows.iter().rev() {
            self.rows.push_front(*row);
        }
    }

    fn fail(&mut self, aborted: &Aborted) {
        let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + wait);
        self.probed = None;
        if self.logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            self.logged = Some(Instant::now());
            log!("hiems cannot broadcast by realtime.messages: {}", aborted.message);
        }
    }
}

/// Looks whether a message can be written.
fn probe() -> Result<(), Aborted> {
    const WRITTEN: &str = "it is well";
    let probed = xact::transaction_within(PATIENCE, give_up, || -> Result<(), _> {
        try_lock()?;
        spi::execute_as(c"service_role", PROBE, &[])?;
        Err(Aborted { lock_not_available: false, message: WRITTEN.to_owned() })
    });
    match probed {
        Err(aborted) if aborted.message == WRITTEN => {
            OUTBOX.with_borrow_mut(|outbox| outbox.probed = Some(Instant::now()));
            Ok(())
        }
        probed => probed,
    }
}

fn try_lock() -> Result<(), Aborted> {
    match lock::try_lock_for_writing(c"realtime", c"messages") {
        true => Ok(()),
        false => Err(Aborted::by_lock()),
    }
}

fn send_rows(rows: &[Uuid]) -> Result<(), Aborted> {
    xact::transaction_within(PATIENCE, give_up, || {
        try_lock()?;
        // What a crash undoes of it is lost to those who listened: so are they.
        xact::commit_without_waiting();
        // realtime.send makes a warning of every error: one for each event would fill the log.
        session::set_locally(c"log_min_messages", c"error");
        let events = spi::read(EVENTS, &[ids(rows).into()], |row| {
            Ok((row.get::<String>(1)?, row.get::<String>(2)?))
        })?;
        for (payload, topic) in events {
            spi::execute_as(c"service_role", SEND, &[payload.into(), topic.into()])?;
        }
        Ok(())
    })
}
