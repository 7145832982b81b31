//! Injects the faults of the server, one at a time, spread over the calls.

use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hiems_tests::Random;

use crate::fault::Fault;
use crate::starve;
use crate::world::World;

/// How often one that did not take place, since there was nobody to hit, is tried again.
const TRIES: usize = 5;

/// All faults of the run, in their turn; for each that did not take place, one more.
pub fn run(world: &World) {
    let _over = Over(world);
    let plan = &world.plan;
    let mut injected = 0;
    for turn in 0..2 * plan.faults {
        if injected == plan.faults {
            break;
        }
        // Beyond the calls of the plan the callers go on for as long as there are faults.
        let due = plan.calls * (turn + 1).min(plan.faults) / (plan.faults + 2);
        world.holds_within(u64::MAX >> 32, || world.done() >= due);
        if world.is_overdue() {
            break;
        }
        let fault = plan.fault(turn);
        let mut random = plan.random(4, turn as u64);
        if fault.needs_disk() && world.server.wal_disk.is_none() {
            continue;
        }
        let (began, at, calls) = (Instant::now(), SystemTime::now(), world.done());
        let took_place = (0..TRIES).any(|_| inject(world, fault, &mut random));
        if took_place {
            world.faults.add(&format!("{fault:?}"));
            injected += 1;
        }
        let took = began.elapsed().as_millis();
        let at = at.duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64();
        println!("{at:.3}: fault {turn}, {fault:?}: {calls} calls, {took} ms, {took_place}");
    }
}

/// The callers need not go on, however it ended.
struct Over<'w>(&'w World);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.faults_over.store(true, Ordering::Relaxed);
    }
}

/// True if it took place.
fn inject(world: &World, fault: Fault, random: &mut Random) -> bool {
    match fault {
        Fault::CancelCallers => signal_callers(world, "pg_cancel_backend", random),
        Fault::TerminateCallers => signal_callers(world, "pg_terminate_backend", random),
        Fault::CancelGateway => {
            let is_hit = signal_gateway(world, "pg_cancel_backend");
            // What it was writing is written a moment later: one fault at a time.
            world.pause(50);
            is_hit
        }
        Fault::TerminateGateway => signal_gateway(world, "pg_terminate_backend"),
        Fault::KillBackend => {
            let victims = callers(world);
            !victims.is_empty() && kill(world, *random.pick(&victims))
        }
        Fault::KillGateway => {
            is_in_flight(world) && gateway(world).is_some_and(|pid| kill(world, pid))
        }
        Fault::StopImmediate => {
            let in_flight = is_in_flight(world);
            world.outages.during(false, || world.server.bounce("immediate"));
            in_flight
        }
        Fault::StopFast => {
            let in_flight = is_in_flight(world);
            // What is in flight is finished: no id is lost.
            world.server.bounce("fast");
            in_flight
        }
        Fault::DropExtension => drop_extension(world),
        Fault::FullDisk => starve::of_disk(world, random),
        Fault::FullWal => starve::of_wal(world, random),
        Fault::LockTable => lock_table(world, random),
        Fault::KillWhileLocked => kill_while_locked(world, random),
        Fault::ExhaustedConnections => starve::of_connections(world),
    }
}

fn is_in_flight(world: &World) -> bool {
    world.holds_within(10, || world.server.fake.in_flight() > 0)
}

const CALLERS: &str = "
    SELECT pid FROM pg_stat_activity
    WHERE usename = 'app' AND state = 'active' AND query LIKE '%hiems.%'";
const GATEWAY: &str = "
    SELECT pid FROM pg_stat_activity
    WHERE backend_type = 'hiems gateway' AND datname = current_database()
    ORDER BY backend_start DESC LIMIT 1";

/// The processes of sessions that are in a call.
fn callers(world: &World) -> Vec<i32> {
    let mut admin = world.server.admin();
    let mut found = Vec::new();
    world.holds_within(10, || {
        let rows = admin.query(CALLERS, &[]).expect("pg_stat_activity");
        found = rows.iter().map(|row| row.get(0)).collect();
        !found.is_empty()
    });
    found
}

/// The process of the gateway; of the newer one, where one is leaving.
fn gateway(world: &World) -> Option<i32> {
    let mut admin = world.server.admin();
    let mut found = None;
    world.holds_within(10, || {
        found = admin.query_opt(GATEWAY, &[]).expect("pg_stat_activity").map(|row| row.get(0));
        found.is_some()
    });
    found
}

/// One caller of them, or several at once.
fn signal_callers(world: &World, function: &str, random: &mut Random) -> bool {
    let victims = callers(world);
    let mut admin = world.server.admin();
    let mut hit = false;
    for pid in victims.iter().filter(|_| random.percent(60)) {
        let act = format!("SELECT {function}($1)");
        hit |= admin.query_one(&act, &[pid]).is_ok_and(|row| row.get(0));
    }
    hit
}

fn signal_gateway(world: &World, function: &str) -> bool {
    let act = format!("SELECT {function}($1)");
    is_in_flight(world)
        && gateway(world).is_some_and(|pid| {
            world.server.admin().query_one(&act, &[&pid]).is_ok_and(|row| row.get(0))
        })
}

/// SIGKILL, after which PostgreSQL takes every process down and starts anew.
fn kill(world: &World, pid: i32) -> bool {
    let mut witness = world.server.admin();
    let mut is_hit = false;
    world.outages.during(false, || {
        // SAFETY: a plain system call.
        is_hit = unsafe { libc::kill(pid, libc::SIGKILL) } == 0;
        is_hit = is_hit && world.holds_within(30, || witness.batch_execute("SELECT 1").is_err());
        drop(world.server.admin());
    });
    is_hit
}

/// It is refused, or waits for a lock in vain; never done.
fn drop_extension(world: &World) -> bool {
    let dropped = world
        .server
        .admin()
        .batch_execute("SET lock_timeout = '2s'; DROP EXTENSION hiems CASCADE")
        .expect_err("DROP EXTENSION is refused");
    dropped.as_db_error().is_some()
}

/// Those that callers and the gateway write, and some that they only read.
const TABLES: [&str; 7] = [
    "hiems_private.calls",
    "hiems_private.calls",
    "hiems.ai_usage_logs",
    "hiems_private.exchange_rates",
    "hiems_private.api_keys",
    "hiems_private.answers",
    "hiems_private.access",
];

/// Somebody's maintenance. Where open transactions keep the lock from being given, what queues behind it is
/// kept out all the same.
fn lock_table(world: &World, random: &mut Random) -> bool {
    let mut admin = world.server.admin();
    let table = random.pick(&TABLES);
    let asked = admin.batch_execute(&format!(
        "BEGIN; SET LOCAL lock_timeout = '1s'; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"
    ));
    if asked.is_ok() {
        world.pause(200 + random.below(800));
    }
    drop(admin);
    // It goes on to be felt for a moment: one fault at a time.
    world.pause(50);
    true
}

/// The gateway dies while the journal and the ledger are locked: what stands in for them is all there is.
fn kill_while_locked(world: &World, random: &mut Random) -> bool {
    let lock = |table: &str| {
        format!("BEGIN; SET LOCAL lock_timeout = '2s'; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    };
    let mut of_journal = world.server.admin();
    if of_journal.batch_execute(&lock("hiems_private.calls")).is_err() {
        return false;
    }
    let mut of_ledger = world.server.admin();
    std::thread::scope(|scope| {
        // Open transactions may keep it from being given: whoever comes later is kept out all the same.
        scope.spawn(|| of_ledger.batch_execute(&lock("hiems.ai_usage_logs")));
        world.pause(300 + random.below(500));
        gateway(world).is_some_and(|pid| kill(world, pid))
    })
}
