//! pg_rewind: an old primary that went on after the promotion becomes a standby of the new one.

use hiems_tests::{Cluster, Config, Database, ResultExt, wait_until};

use super::{
    COMMITTED, End, JOURNAL, LONG_MS, SOON, call_as, judge, lock, spilled, start,
    start_behind_lock, wait_until_journalled,
};

#[test]
fn a_rewound_primary_has_the_history_of_the_new_one() {
    // pg_rewind looks through its log from before the promotion.
    let mut old = Cluster::start(&["wal_keep_size = 256MB"]);
    let database = Database::on(&old, Config::default());
    database.store_key();
    call_as(&mut database.admin(), "before", "0").expect("an answer");
    let new = old.standby();
    let split = start(database.admin(), "split", LONG_MS);
    let mut new_client = new.connect(&database.name, "postgres");
    wait_until_journalled(&mut new_client, 1);
    new.promote();
    call_as(&mut new_client, "new", "0").expect("an answer of the new primary");

    // The old one goes on, and ends with calls in flight, one of them only in the spill.
    call_as(&mut database.admin(), "old", "0").expect("an answer of the old primary");
    split.end().1.expect("its answer, on the old primary");
    let mut old_client = database.admin();
    let on_old = [("before", COMMITTED), ("split", COMMITTED), ("old", COMMITTED)];
    judge(&mut old_client, &database.fake, &on_old);
    let journalled = start(database.admin(), "journalled", LONG_MS);
    wait_until_journalled(&mut old_client, 1);
    let _holder = lock(&database, JOURNAL);
    let behind_lock = start_behind_lock(&old, &database, "behind_lock");
    let (name, fake) = database.into_parts();
    old.stop("immediate");
    for running in [journalled, behind_lock] {
        running.end().1.expect_err("the stop");
    }

    new_client.batch_execute("CHECKPOINT").expect("a checkpoint on the new timeline");
    old.rewind_to(&new);
    assert_eq!(spilled(&old.data()), "", "the spill is of the history that was undone");
    let history = [("before", COMMITTED), ("split", End::Lost), ("new", COMMITTED)];
    judge(&mut new_client, &fake, &history);
    let mut old_client = old.connect(&name, "postgres");
    wait_until("the rewound server has caught up", SOON, || {
        old_client
            .query_one("SELECT count(*) FROM hiems_private.calls", &[])
            .is_ok_and(|row| row.get::<_, i64>(0) == 0)
    });
    judge(&mut old_client, &fake, &history);
    assert_eq!(call_as(&mut old_client, "early", "0").sqlstate(), "0A000");

    // And back again, with a call in flight.
    let again = start(new.connect(&name, "postgres"), "again", LONG_MS);
    wait_until_journalled(&mut old_client, 1);
    new.stop("immediate");
    again.end().1.expect_err("the stop");
    old.promote();
    call_as(&mut old_client, "last", "0").expect("an answer of the first primary");
    let history = [&history[..], &[("again", End::Lost), ("last", COMMITTED)]].concat();
    judge(&mut old_client, &fake, &history);
    assert_eq!(fake.requests().len(), 8, "nothing was sent again");
    for server in [&old, &new] {
        for word in ["PANIC", "XX000", "XX001", "was terminated by signal"] {
            assert!(!server.log().contains(word), "{word}: {}", server.log());
        }
    }
}
