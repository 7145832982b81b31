//! One run: callers and faults at the same time, then quiet, then the comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hiems_tests::postgresql_version;

use crate::bill::{self, Difference, Kind};
use crate::ending::ENDINGS;
use crate::fault::Fault;
use crate::plan::Plan;
use crate::summary::Report;
use crate::world::World;
use crate::{caller, held, inject, log, quiet, upstream};

/// Two runs at a time would take each other's time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs it to its end, or to its deadline.
pub fn run(plan: Plan) -> Report {
    let _turn = ONE_AT_A_TIME.lock();
    let began = Instant::now();
    println!("torture: SEED={} CALLS={} FAULTS={}", plan.seed, plan.calls, plan.faults);
    let world = Arc::new(World::new(plan));
    let holders = threads(&world, world.plan.held, held::run);
    let callers = threads(&world, world.plan.sessions, caller::run);
    let faults = threads(&world, 1, |world, _| inject::run(world));
    let mut differences = join(&world, "callers", callers);
    differences.extend(join(&world, "faults", faults));
    world.traffic_over.store(true, Ordering::Relaxed);
    differences.extend(join(&world, "holders", holders));

    differences
        .extend(quiet::wait(&world).into_iter().map(|left| Difference::new(Kind::Left, left)));
    let mut compared = bill::compare(&world);
    let findings = log::findings(&world.server.log_from(0), &world.outages.all());
    differences.extend(findings.into_iter().map(|line| Difference::new(Kind::Log, line)));
    let (faults, endings) = (world.faults.all(), world.endings.all());
    let upstream = upstream_counts(&world);
    let not_injectable = if world.server.wal_disk.is_some() {
        Vec::new()
    } else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "in CI nothing may be skipped");
        Fault::ALL.iter().filter(|it| it.needs_disk()).map(|it| format!("{it:?}")).collect()
    };
    if world.plan.is_whole {
        let happened: BTreeSet<&String> =
            faults.keys().chain(endings.keys()).chain(upstream.keys()).collect();
        let to_happen = to_happen().into_iter().filter(|what| !not_injectable.contains(what));
        for what in to_happen.filter(|what| !happened.contains(what)) {
            differences.push(Difference::new(Kind::NotInjected, what));
        }
    }
    compared.differences.append(&mut differences);
    Report {
        seed: world.plan.seed,
        postgresql: postgresql_version(),
        calls: world.done(),
        took: began.elapsed(),
        faults,
        endings,
        upstream,
        not_injectable,
        compared,
    }
}

/// Threads of a run.
fn threads(world: &Arc<World>, count: usize, body: fn(&World, usize)) -> Vec<JoinHandle<()>> {
    (0..count)
        .map(|number| {
            let world = Arc::clone(world);
            std::thread::spawn(move || body(&world, number))
        })
        .collect()
}

/// Waits for them; the differences that they make are those that did not end in time, or ended badly.
fn join(world: &World, what: &str, threads: Vec<JoinHandle<()>>) -> Vec<Difference> {
    let mut differences = Vec::new();
    // A thread sees for itself that the run is overdue, unless it waits for the server.
    let end = world.end + Duration::from_secs(20);
    let waiting = || threads.iter().filter(|it| !it.is_finished()).count();
    while waiting() > 0 && Instant::now() < end {
        world.pause(20);
    }
    let open = waiting();
    if open > 0 || world.is_overdue() {
        let (count, done, calls) = (threads.len(), world.done(), world.plan.calls);
        let text = format!("not in time: {open} of {count} {what} wait; {done} of {calls} calls");
        differences.push(Difference::new(Kind::Left, text));
    }
    if open > 0 {
        // Whoever waits for the server, waits no longer.
        world.outages.during(false, || world.server.bounce("immediate"));
    }
    for thread in threads {
        if thread.join().is_err() {
            differences.push(Difference::new(Kind::Left, format!("one of the {what} broke off")));
        }
    }
    differences
}

/// How many calls of each kind reached the fake.
fn upstream_counts(world: &World) -> BTreeMap<String, usize> {
    let made = world.made.lock().expect("the calls");
    let mut counts = BTreeMap::new();
    for request in world.server.fake.requests() {
        let made = request.body["user"].as_str().and_then(|label| made.get(label));
        if let Some(made) = made {
            *counts.entry(made.upstream.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// The names of all that a whole run injects.
fn to_happen() -> Vec<String> {
    let faults = Fault::ALL.iter().map(|fault| format!("{fault:?}"));
    let endings = ENDINGS.iter().map(|ending| format!("{ending:?}"));
    let upstream = upstream::table().into_iter().map(|it| it.name.to_owned());
    let more = ["plain", "detached", "held open", "commit prepared", "rollback prepared"]
        .map(str::to_owned);
    faults.chain(endings).chain(upstream).chain(more).collect()
}
