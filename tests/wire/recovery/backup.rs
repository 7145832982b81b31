//! A base backup that is taken while calls are in flight, started as a server of its own.

use hiems_tests::{Cluster, Config, Database};

use super::traffic::{Traffic, agree_with_bill};
use super::{
    COMMITTED, End, JOURNAL, LONG_MS, call_as, judge, ledger_of, lock, roll_back_as, spilled,
    start, start_behind_lock, wait_until_journalled,
};

#[test]
fn a_backup_of_a_busy_server_sends_nothing_again() {
    let original = Cluster::start(&[]);
    let database = Database::on(&original, Config::default());
    database.store_key();
    let mut admin = database.admin();
    call_as(&mut admin, "before", "0").expect("an answer");
    let flying = start(database.admin(), "flying", LONG_MS);
    wait_until_journalled(&mut admin, 1);
    let traffic = Traffic::start(&database);
    let restored = original.backup();
    let traffic = traffic.stop();
    assert!(traffic.len() > 20, "{} calls", traffic.len());
    call_as(&mut admin, "later", "0").expect("an answer of the original");

    let mut client = restored.connect(&database.name, "postgres");
    call_as(&mut client, "new", "0").expect("an answer of the restored server");
    flying.end().1.expect("its answer, of the original");
    let fake = &database.fake;
    let rows = ledger_of(&mut client, fake);
    let outcomes = agree_with_bill(&mut client, fake, &rows, 0);
    let outcome = |user| {
        let row = rows.iter().find(|row| row.get::<_, &str>("user_id") == user);
        row.map(|row| row.get::<_, &str>("outcome"))
    };
    assert_eq!(
        ["before", "new", "later"].map(outcome),
        [Some("committed"), Some("committed"), None]
    );
    assert!(outcome("flying").is_some_and(|outcome| outcome != "committed"));
    let all = rows.len();
    assert!(all > 3 && all < traffic.len() + 3, "the backup ends amid the traffic: {all}");
    println!("{} calls of the traffic; in the restored ledger: {outcomes:?}", traffic.len());

    // The original knows of nothing.
    let users = ["before", "flying", "later"].into_iter().chain(traffic.iter().map(String::as_str));
    let calls: Vec<_> = users.map(|user| (user, COMMITTED)).collect();
    judge(&mut admin, fake, &calls);
    assert_eq!(fake.requests().len(), traffic.len() + 4);
}

#[test]
fn a_backup_has_what_stood_in_for_a_locked_journal() {
    let original = Cluster::start(&[]);
    let database = Database::on(&original, Config::default());
    database.store_key();
    let mut holder = lock(&database, JOURNAL);
    let mut client = database.admin();
    roll_back_as(&mut client, "rolled_back");
    call_as(&mut client, "committed", "0").expect("an answer");
    let flying = start_behind_lock(&original, &database, "flying");
    let restored = original.backup();
    assert_ne!(spilled(&restored.data()), "");
    holder.batch_execute("COMMIT").expect("the end of the lock");
    flying.end().1.expect("its answer, of the original");
    let others = [("rolled_back", End::Known("rolled_back")), ("committed", COMMITTED)];
    let calls = [&others[..], &[("flying", COMMITTED)]].concat();
    judge(&mut client, &database.fake, &calls);

    let mut client = restored.connect(&database.name, "postgres");
    call_as(&mut client, "new", "0").expect("an answer of the restored server");
    let calls = [&others[..], &[("flying", End::Lost), ("new", COMMITTED)]].concat();
    judge(&mut client, &database.fake, &calls);
    assert_eq!(spilled(&restored.data()), "");
    assert_eq!(database.fake.requests().len(), 4);
}
