//! A base backup that is taken while calls are in flight, started as a server of its own.

use std::sync::atomic::{AtomicBool, Ordering};

use hiems_tests::{Cluster, Config, Database};

use super::{
    COMMITTED, End, JOURNAL, LONG_MS, billed_once, booked, call_as, is_billed,
    is_settled_or_unknown, judge, lock, spilled, start, start_behind_lock, wait_until_journalled,
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
    let over = AtomicBool::new(false);
    let (restored, traffic) = std::thread::scope(|scope| {
        let sessions: Vec<_> = (0..4)
            .map(|session| {
                let mut client = database.admin();
                let over = &over;
                scope.spawn(move || {
                    let mut users = Vec::new();
                    while !over.load(Ordering::Acquire) {
                        let user = format!("traffic{session}-{}", users.len());
                        call_as(&mut client, &user, "20").expect("an answer");
                        users.push(user);
                    }
                    users
                })
            })
            .collect();
        let restored = original.backup();
        over.store(true, Ordering::Release);
        let traffic = sessions.into_iter().flat_map(|s| s.join().expect("no panic"));
        (restored, traffic.collect::<Vec<String>>())
    });
    assert!(traffic.len() > 20, "{} calls", traffic.len());
    call_as(&mut admin, "later", "0").expect("an answer of the original");

    let mut client = restored.connect(&database.name, "postgres");
    call_as(&mut client, "new", "0").expect("an answer of the restored server");
    flying.end().1.expect("its answer, of the original");
    let fake = &database.fake;
    let rows = booked(&mut client, fake);
    let mut users: Vec<&str> = rows.iter().map(|row| row.get("user_id")).collect();
    let all = users.len();
    users.dedup();
    assert_eq!(users.len(), all, "no row is there twice");
    assert!(["before", "flying", "new"].iter().all(|user| users.contains(user)), "{users:?}");
    assert!(!users.contains(&"later"), "{users:?}");
    assert!(all > 3 && all < traffic.len() + 3, "the backup ends amid the traffic: {all}");
    let mut ends = std::collections::BTreeMap::new();
    for row in &rows {
        let user = row.get::<_, &str>("user_id");
        let generation = billed_once(fake, user);
        let is_known = is_billed(&mut client, row, &generation);
        assert!(is_known || is_settled_or_unknown(&mut client, row, &generation), "{row:?}");
        let outcome = row.get::<_, &str>("outcome");
        assert_eq!(is_known, ["committed", "rolled_back"].contains(&outcome), "{row:?}");
        assert!(user != "flying" || !is_known, "{row:?}");
        *ends.entry(outcome.to_owned()).or_insert(0) += 1;
    }
    println!("{} calls of the traffic; in the restored ledger: {ends:?}", traffic.len());

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
    client.batch_execute("BEGIN").expect("a begin");
    call_as(&mut client, "rolled_back", "0").expect("an answer");
    client.batch_execute("ROLLBACK").expect("a rollback");
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
