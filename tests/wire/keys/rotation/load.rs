//! Rotation and new keys while many sessions call: no call fails.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hiems_tests::{Cluster, Config, Database, KEY, SOON, wait_until};

use super::super::{call, refused, set_key, write};
use super::{master_keys, own_file, read, rotate};

const SESSIONS: usize = 8;
const ROTATIONS: usize = 12;

#[test]
fn no_call_fails_while_master_keys_and_keys_are_changed() {
    let cluster = Cluster::start(&[]);
    let [database, neighbour] = [(); 2].map(|()| Database::on(&cluster, Config::default()));
    for database in [&database, &neighbour] {
        set_key(&mut database.admin(), KEY, "default").expect("a key");
    }
    let old = read(&cluster);
    let (over, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for session in 0..SESSIONS {
            let database = if session % 4 == 3 { &neighbour } else { &database };
            let (over, made) = (&over, &made);
            scope.spawn(move || {
                let mut client = database.admin();
                while !over.load(Ordering::Acquire) {
                    call(&mut client).expect("no call fails");
                    made.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
        let changes = scope.spawn(|| {
            let (mut here, mut there) = (database.admin(), neighbour.admin());
            for round in 0..ROTATIONS {
                // Between two changes, calls are made.
                let before = made.load(Ordering::Acquire);
                wait_until("calls go on", SOON, || {
                    made.load(Ordering::Acquire) >= before + SESSIONS
                });
                rotate(&mut here).expect("a new master key");
                set_key(&mut here, &format!("sk-or-v1-round-{round}"), "default").expect("a key");
                if round % 3 == 0 {
                    // The gateway has no key open, and reads the file that is being changed.
                    here.batch_execute("SELECT pg_reload_conf()").expect("a reload");
                    rotate(&mut there).expect("a new master key");
                }
            }
        });
        let changed = changes.join();
        over.store(true, Ordering::Release);
        changed.expect("every change goes well");
    });
    rotate(&mut database.admin()).expect("a new master key");
    for database in [&database, &neighbour] {
        database.wait_until_booked();
        let billed = database.fake.bill().len() as i64;
        assert_eq!(database.count("hiems.ai_usage_logs WHERE outcome = 'committed'"), billed);
        assert_eq!(database.count("hiems.ai_usage_logs"), billed);
        database.end_gateway();
        call(&mut database.admin()).expect("an answer");
    }
    assert_eq!(master_keys(&cluster).len(), 1 + ROTATIONS + ROTATIONS.div_ceil(3) + 1);
    write(&cluster, &own_file(&cluster), &old, 0o600);
    for database in [&database, &neighbour] {
        database.end_gateway();
        refused(database, &mut database.admin());
    }
}
