//! A key holds across a crash: what may have been billed is not sent again.

use hiems_tests::{Cluster, Config, Database, ResultExt, wait_until};

use super::{SOON, keyed, unmarked};

#[test]
fn a_crash_does_not_set_keys_free() {
    let mut cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.store_key();
    let (name, fake) = database.into_parts();
    let mut client = cluster.connect(&name, "postgres");
    keyed(&mut client, "answered", &[]).expect("an answer");
    let wishes = [("fake_delay_ms", "3000")];
    std::thread::scope(|scope| {
        scope.spawn(|| keyed(&mut client, "lost", &wishes).expect_err("the crash"));
        let mut admin = cluster.connect(&name, "postgres");
        wait_until("the generation's id is in the journal", SOON, || {
            let known =
                "SELECT count(generation_id) = 1 FROM hiems_private.calls WHERE state = 'sent'";
            admin.query_one(known, &[]).is_ok_and(|row| row.get(0))
        });
        cluster.stop("immediate");
    });
    cluster.restart();
    let mut client = cluster.connect(&name, "postgres");
    let answer = keyed(&mut client, "answered", &[]).expect("the answer");
    assert!(unmarked(&answer).1);
    let refusal = keyed(&mut client, "lost", &wishes).refusal();
    assert_eq!(refusal.sqlstate, "PT502", "{refusal:?}");
    wait_until("everything is booked", SOON, || {
        client
            .query_one("SELECT count(*) = 0 FROM hiems_private.calls", &[])
            .is_ok_and(|row| row.get(0))
    });
    assert_eq!(keyed(&mut client, "lost", &wishes).sqlstate(), "PT502");
    assert_eq!(fake.requests().len(), 2, "nothing was sent again");
}
