//! A standby takes over from a primary with calls in flight.

use hiems_tests::{Cluster, Config, Database, ResultExt, wait_until};

use super::traffic::{SESSIONS, Traffic, agree_with_bill};
use super::{
    COMMITTED, End, JOURNAL, LONG_MS, SOON, call_as, judge, ledger_of, lock, lose, roll_back_as,
    spilled, start, start_behind_lock, wait_until_journalled,
};

#[test]
fn a_promoted_standby_sends_nothing_again_of_what_was_in_flight() {
    let primary = Cluster::start(&[]);
    let database = Database::on(&primary, Config::default());
    database.store_key();
    call_as(&mut database.admin(), "before", "0").expect("an answer");
    let standby = primary.standby();
    // Answered, and its caller has not ended.
    let mut open = database.admin();
    open.batch_execute("BEGIN").expect("a begin");
    call_as(&mut open, "open", "0").expect("an answer");
    lose(&mut database.admin(), "lost", LONG_MS);
    let flying = ["flying1", "flying2"].map(|user| start(database.admin(), user, LONG_MS));
    let mut client = standby.connect(&database.name, "postgres");
    wait_until_journalled(&mut client, 2);
    let states = "SELECT string_agg(state, ' ' ORDER BY state) FROM hiems_private.calls";
    wait_until("the standby has the others, too", SOON, || {
        client
            .query_one(states, &[])
            .is_ok_and(|row| row.get::<_, &str>(0) == "answered sent sent unknown")
    });
    assert_eq!(call_as(&mut client, "early", "0").sqlstate(), "0A000");

    primary.stop("immediate");
    for running in flying {
        running.end().1.expect_err("the stop");
    }
    assert_eq!(call_as(&mut client, "early", "0").sqlstate(), "0A000");
    standby.promote();
    call_as(&mut client, "after", "0").expect("an answer of the new primary");
    judge(
        &mut client,
        &database.fake,
        &[
            ("before", COMMITTED),
            ("open", End::Known("rolled_back")),
            ("lost", End::Lost),
            ("flying1", End::Lost),
            ("flying2", End::Lost),
            ("after", COMMITTED),
        ],
    );
    assert_eq!(database.fake.requests().len(), 6);
}

#[test]
fn a_standby_takes_over_amid_traffic() {
    let primary = Cluster::start(&[]);
    let database = Database::on(&primary, Config::default());
    database.store_key();
    let standby = primary.standby();
    let mut client = standby.connect(&database.name, "postgres");
    let traffic = Traffic::start(&database);
    let ledger = "SELECT count(*) FROM hiems.ai_usage_logs";
    wait_until("the standby follows the traffic", SOON, || {
        client.query_one(ledger, &[]).is_ok_and(|row| row.get::<_, i64>(0) > 50)
    });
    primary.stop("immediate");
    let answered = traffic.stop();
    standby.promote();
    call_as(&mut client, "new", "0").expect("an answer of the new primary");
    let fake = &database.fake;
    let rows = ledger_of(&mut client, fake);
    let outcomes = agree_with_bill(&mut client, fake, &rows, SESSIONS);
    println!("{} calls were answered; in the new ledger: {outcomes:?}", answered.len());
    // What was not sent on to the standby in time is in no ledger; one call of each session at most was
    // not answered.
    assert!((51..=answered.len() + 5).contains(&rows.len()), "{} rows", rows.len());
    let sent = fake.requests().len();
    assert!((answered.len() + 1..=answered.len() + 5).contains(&sent), "{sent} requests");
}

// Each goes by what it knew when they parted.
#[test]
fn a_cut_off_primary_books_its_own_and_the_promoted_standby_its_own() {
    let primary = Cluster::start(&[]);
    let database = Database::on(&primary, Config::default());
    database.store_key();
    let standby = primary.standby();
    let flying = start(database.admin(), "flying", LONG_MS);
    let mut client = standby.connect(&database.name, "postgres");
    wait_until_journalled(&mut client, 1);
    standby.promote();
    call_as(&mut client, "new", "0").expect("an answer of the new primary");
    call_as(&mut database.admin(), "old", "0").expect("an answer of the old primary");
    flying.end().1.expect("its answer, on the old primary");
    let fake = &database.fake;
    judge(&mut client, fake, &[("flying", End::Lost), ("new", COMMITTED)]);
    judge(&mut database.admin(), fake, &[("flying", COMMITTED), ("old", COMMITTED)]);
    assert_eq!(fake.requests().len(), 3);
}

// A standby has a copy of what stood in for the journal when it was made, however long ago.
#[test]
fn what_was_spilled_when_a_standby_was_made_is_not_booked_again_by_it() {
    let primary = Cluster::start(&[]);
    let database = Database::on(&primary, Config::default());
    database.store_key();
    let mut holder = lock(&database, JOURNAL);
    let mut client = database.admin();
    roll_back_as(&mut client, "rolled_back");
    let flying = start_behind_lock(&primary, &database, "flying");
    let standby = primary.standby();
    assert_ne!(spilled(&standby.data()), "");
    holder.batch_execute("COMMIT").expect("the end of the lock");
    flying.end().1.expect("its answer");
    let calls = [("rolled_back", End::Known("rolled_back")), ("flying", COMMITTED)];
    judge(&mut client, &database.fake, &calls);
    let mut client = standby.connect(&database.name, "postgres");
    wait_until("the standby has it all", SOON, || {
        client
            .query_one("SELECT count(*) FROM hiems.ai_usage_logs", &[])
            .is_ok_and(|row| row.get::<_, i64>(0) == 2)
    });
    primary.stop("immediate");
    standby.promote();
    call_as(&mut client, "new", "0").expect("an answer of the new primary");
    judge(&mut client, &database.fake, &[&calls[..], &[("new", COMMITTED)]].concat());
    assert_eq!(spilled(&standby.data()), "");
}
