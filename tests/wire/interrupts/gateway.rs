//! pg_cancel_backend() on the gateway: there is nothing of its callers' in it to cancel.

use std::sync::atomic::{AtomicBool, Ordering};

use hiems_tests::{Database, call};

const CALLS: usize = 150;

#[test]
fn a_gateway_that_is_cancelled_again_and_again_refuses_nothing() {
    let database = Database::new();
    call(&mut database.admin(), "{}").expect("an answer");
    let gateways = database.gateways();
    let over = AtomicBool::new(false);
    let cancels = std::thread::scope(|scope| {
        let cancelling = scope.spawn(|| {
            let mut admin = database.admin();
            let mut cancels = 0;
            while !over.load(Ordering::Relaxed) {
                let hit = admin.query_one("SELECT pg_cancel_backend($1)", &[&gateways[0]]);
                cancels += usize::from(hit.expect("a signal").get::<_, bool>(0));
                std::thread::park_timeout(std::time::Duration::from_millis(1));
            }
            cancels
        });
        let mut client = database.admin();
        let failed: Vec<_> = (0..CALLS).filter_map(|_| call(&mut client, "{}").err()).collect();
        over.store(true, Ordering::Relaxed);
        assert!(failed.is_empty(), "{} of {CALLS}: {:?}", failed.len(), failed[0]);
        cancelling.join().expect("the cancels")
    });
    println!("{CALLS} calls, {cancels} cancels");
    assert_eq!(database.gateways(), gateways);
    database.wait_until_booked();
    assert_eq!(database.count("hiems.ai_usage_logs"), CALLS as i64 + 1);
}
