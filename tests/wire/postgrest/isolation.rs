//! PostgREST before 16 runs a transaction that fails with 40001 again for ever. hiems raises none, and is
//! not called where PostgreSQL could.

use hiems_tests::SOON;

use super::site::{Site, prompt};

#[test]
fn other_isolation_levels_are_refused_before_anything_is_sent() {
    let site = Site::new();
    let ada = site.user("ada");
    let role = &site.roles.authenticated;
    for level in ["repeatable read", "serializable"] {
        site.database
            .admin()
            .batch_execute(&format!(
                "ALTER ROLE {role} SET default_transaction_isolation = '{level}';
                 NOTIFY pgrst, 'reload config'"
            ))
            .expect("a setting");
        // Until PostgREST has read the role's settings anew.
        let refused = || {
            let answer = site.rpc(&ada, "submit_prompt", &prompt(&[]));
            (answer.status != 200).then_some(answer)
        };
        let mut answer = refused();
        hiems_tests::wait_until("the level counts", SOON, || {
            if answer.is_none() {
                answer = refused();
            }
            answer.is_some()
        });
        let answer = answer.expect("a refusal");
        assert_eq!((answer.status, answer.text("code")), (400, "0A000"), "{level}: {answer:?}");
        assert!(answer.text("hint").contains("read committed"), "{answer:?}");
        let sent = site.database.fake.request_count();
        for function in ["submit_prompt", "enqueue_prompt"] {
            let answer = site.rpc(&ada, function, &prompt(&[]));
            assert_eq!((answer.status, answer.text("code")), (400, "0A000"), "{level}: {answer:?}");
        }
        assert_eq!(site.database.fake.request_count(), sent);
        site.database
            .admin()
            .batch_execute(&format!(
                "ALTER ROLE {role} RESET default_transaction_isolation;
                 NOTIFY pgrst, 'reload config'"
            ))
            .expect("a setting");
        hiems_tests::wait_until("it counts no more", SOON, || {
            site.rpc(&ada, "submit_prompt", &prompt(&[])).status == 200
        });
    }
    site.database.wait_until_booked();
    assert_eq!(
        site.database.count("hiems.ai_usage_logs"),
        i64::try_from(site.database.fake.bill().len()).expect("a number")
    );
}
