//! A crash while both journal and ledger are locked: what callers did is in the spill alone.

use hiems_tests::{Cluster, Config, Database};

use super::{COMMITTED, End, JOURNAL, call_as, judge, lock, spilled};

// The transaction's id was in memory only: after the crash another transaction gets it, and commits.
#[test]
fn a_transaction_that_a_crash_ended_is_not_taken_for_one_that_committed() {
    let mut cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.store_key();
    let _holder = lock(&database, &format!("{JOURNAL}, hiems.ai_usage_logs"));
    let mut open = database.admin();
    open.batch_execute("BEGIN").expect("a begin");
    call_as(&mut open, "open", "0").expect("an answer");
    assert!(spilled(&cluster.data()).contains("Deferred"));
    let (name, fake) = database.into_parts();
    cluster.stop("immediate");
    cluster.restart();
    let mut client = cluster.connect(&name, "postgres");
    call_as(&mut client, "new", "0").expect("an answer");
    judge(&mut client, &fake, &[("open", End::Known("rolled_back")), ("new", COMMITTED)]);
    assert_eq!(fake.requests().len(), 2);
}
