//! pg_cancel_backend() on the gateway: there is nothing of its callers' in it to cancel.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use hiems_tests::{Database, SOON, call, wait_until};

const CALLS: usize = 150;
/// How many cancels are sent while the journal is locked once.
const CANCELS_BEHIND_A_LOCK: usize = 2_000;

/// Makes [`CALLS`] calls in some sessions while the gateway is cancelled all the time, and `beside` goes on
/// until its flag is set: it is given how many cancels there were. Every call must be answered, by the same
/// gateway, and booked.
fn answered_under_cancels(
    sessions: usize,
    cancellers: usize,
    beside: impl Fn(&Database, &AtomicUsize, &AtomicBool) + Sync,
) {
    let database = Database::new();
    call(&mut database.admin(), "{}").expect("an answer");
    let gateways = database.gateways();
    let cancels = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let is_over = || over.load(Ordering::Relaxed);
    thread::scope(|scope| {
        for _ in 0..cancellers {
            scope.spawn(|| {
                let mut admin = database.admin();
                while !is_over() {
                    let hits = admin.query_one(
                        "SELECT count(pg_cancel_backend($1)) FROM generate_series(1, 10)",
                        &[&gateways[0]],
                    );
                    let hits: i64 = hits.expect("signals").get(0);
                    cancels.fetch_add(hits as usize, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| beside(&database, &cancels, &over));
        let calls: Vec<_> = (0..sessions)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = database.admin();
                    let failed =
                        (0..CALLS / sessions).filter_map(|_| call(&mut client, "{}").err());
                    failed.collect::<Vec<_>>()
                })
            })
            .collect();
        let failed: Vec<_> =
            calls.into_iter().flat_map(|session| session.join().expect("a session")).collect();
        over.store(true, Ordering::Relaxed);
        assert!(failed.is_empty(), "{} of {CALLS}: {:?}", failed.len(), failed[0]);
    });
    println!("{CALLS} calls, {} cancels", cancels.into_inner());
    assert_eq!(database.gateways(), gateways);
    database.wait_until_booked();
    assert_eq!(database.count("hiems.ai_usage_logs"), CALLS as i64 + 1);
}

#[test]
fn a_gateway_that_is_cancelled_again_and_again_refuses_nothing() {
    answered_under_cancels(1, 1, |_, _, _| {});
}

#[test]
fn a_gateway_that_is_cancelled_behind_a_locked_journal_refuses_nothing() {
    answered_under_cancels(3, 2, |database, cancels, over| {
        let mut locker = database.admin();
        while !over.load(Ordering::Relaxed) {
            let lock = "BEGIN; LOCK TABLE hiems_private.calls";
            locker.batch_execute(lock).expect("the lock");
            let enough = cancels.load(Ordering::Relaxed) + CANCELS_BEHIND_A_LOCK;
            wait_until("there were cancels", SOON, || {
                over.load(Ordering::Relaxed) || cancels.load(Ordering::Relaxed) >= enough
            });
            locker.batch_execute("COMMIT").expect("no lock");
        }
    });
}
