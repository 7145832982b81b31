//! The end of a run: what is open is ended, and everything is waited for that is still to be booked.

use std::time::{Duration, Instant};

use postgres::Client;

use crate::plan::Planned;
use crate::world::{Expected, World};

/// What may be left nowhere: what, and how many there are. All are counted in one statement: a call that goes from
/// the queue to the journal between two would be in neither.
const LEFT: &[(&str, &str)] = &[
    ("calls on their way", "SELECT count(*) FROM hiems_private.calls"),
    ("calls in the queue", "SELECT count(*) FROM hiems_private.queue WHERE state <> 'failed'"),
    ("prepared transactions", "SELECT count(*) FROM pg_prepared_xacts"),
    (
        "files of calls that the journal did not take",
        "SELECT count(*) FROM pg_ls_dir('.') AS name WHERE name LIKE 'hiems_calls.%'",
    ),
];

/// The state of what is left on its way, for whoever looks for the cause.
const OPEN_CALLS: &str = "
    SELECT concat_ws(' ', entry ->> 'user_id', state, generation_id, caller_gone, deferred_xid)
    FROM hiems_private.calls
    UNION ALL
    SELECT concat_ws(' ', entry ->> 'user_id', state, attempts, run_at - clock_timestamp(), origin, failure)
    FROM hiems_private.queue WHERE state <> 'failed'
    LIMIT 20";

/// Waits until all is quiet; what is left at the deadline.
pub fn wait(world: &World) -> Vec<String> {
    let end = Instant::now() + world.plan.quiet_deadline;
    let mut admin = world.server.admin();
    let mut left = Vec::new();
    if !world.prepared.resolve_all(world, &mut admin) {
        left.push("a prepared transaction cannot be resolved".to_owned());
    }
    if let Err(error) = wake(world, &mut admin) {
        let why = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
        left.push(format!("the last call failed: {why}"));
    }
    loop {
        let open = open(&mut admin);
        let in_flight = world.server.fake.in_flight();
        if open.is_empty() && in_flight == 0 {
            return left;
        }
        if Instant::now() > end {
            left.extend(open);
            left.push(format!("{in_flight} requests in flight"));
            let calls = admin.query(OPEN_CALLS, &[]).expect("the journal");
            left.extend(calls.iter().map(|row| format!("on its way: {}", row.get::<_, String>(0))));
            return left;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Nobody books until somebody calls: the gateway begins with the first call after a restart.
fn wake(world: &World, admin: &mut Client) -> Result<(), postgres::Error> {
    let last = Planned::plain("last");
    world.note(&last.label, &last);
    admin.batch_execute(&format!("SELECT {}", last.call().sql()))?;
    world.expect(&last.label, Expected::Committed);
    // It need not wait for its next turn.
    admin.batch_execute("SELECT hiems.settle_now()")
}

fn open(admin: &mut Client) -> Vec<String> {
    let counts: Vec<String> = LEFT.iter().map(|(_, sql)| format!("({sql})")).collect();
    let row = admin.query_one(&format!("SELECT {}", counts.join(", ")), &[]).expect("the counts");
    let count = |at: usize| row.get::<_, i64>(at);
    let left = LEFT.iter().enumerate().filter(|(at, _)| count(*at) > 0);
    left.map(|(at, (what, _))| format!("{} {what}", count(at))).collect()
}
