//! What is broadcast by catches every cancel: calls go on, and a shutdown ends.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hiems_tests::{Cluster, Config, Database, ResultExt, Running, SOON, directives, wait_until};

use super::project::{Project, REALTIME, ROLES};

/// Of realtime.send(): each body ends for no cancel that it can catch.
const BODIES: [&str; 3] = [
    "LOOP BEGIN PERFORM pg_sleep(3600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP",
    "LOOP
         BEGIN
             LOOP PERFORM 1; END LOOP;
         EXCEPTION WHEN query_canceled OR OTHERS THEN
             BEGIN
                 LOOP PERFORM pg_sleep(0.001); END LOOP;
             EXCEPTION WHEN query_canceled OR OTHERS THEN NULL;
             END;
         END;
     END LOOP",
    "BEGIN
         PERFORM realtime.send(payload, event, topic, private);
     EXCEPTION WHEN query_canceled THEN PERFORM realtime.send(payload, event, topic, private);
     END",
];

fn send(body: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION realtime.send(payload jsonb, event text, topic text,
                                                  private boolean DEFAULT true)
         RETURNS void LANGUAGE plpgsql AS $$ BEGIN {body}; END $$"
    )
}

/// Realtime's own, again.
fn mend(database: &Database) {
    let at = REALTIME.find("CREATE FUNCTION realtime.send").expect("the function");
    let send = REALTIME[at..].split("CREATE PUBLICATION").next().expect("its end");
    let send = send.replacen("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1);
    database.admin().batch_execute("DROP FUNCTION realtime.send").expect("it goes");
    database.admin().batch_execute(&send).expect("the function is whole again");
}

#[test]
fn an_exception_block_catches_no_second_cancel() {
    let project = Project::new();
    project.call("ada");
    project.wait_until_sent(2);
    let gateway = project.database.gateways();
    for body in BODIES {
        project.database.admin().batch_execute(&send(body)).expect("a function");
        for _ in 0..3 {
            let began = Instant::now();
            project.call("ada");
            assert!(began.elapsed() < Duration::from_secs(3), "{body}");
        }
        project.database.wait_until_booked();
    }
    assert_eq!(project.database.gateways(), gateway, "nothing of it ended the gateway");
    mend(&project.database);
    project.call("ada");
    let last = project.database.ledger().last().map(|row| row["id"].clone());
    wait_until("it is broadcast again", SOON, || {
        project.events().iter().any(|(_, payload)| Some(&payload["id"]) == last.as_ref())
    });
}

/// Its trigger, on a server of its own, which is stopped.
#[test]
fn a_fast_shutdown_ends() {
    let cluster = Cluster::start(&["wal_level = logical"]);
    cluster.connect("postgres", "postgres").batch_execute(ROLES).expect("Supabase's roles");
    let database = Database::on(&cluster, Config::default());
    let mut admin = database.admin();
    admin.batch_execute(REALTIME).expect("Supabase's objects");
    database.store_key();
    admin.execute("SELECT hiems.enable_supabase()", &[]).expect("it is opened");
    let body = BODIES[0];
    admin
        .batch_execute(&format!(
            "CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$;
             CREATE TRIGGER hold BEFORE INSERT ON realtime.messages FOR EACH ROW EXECUTE FUNCTION public.hold()"
        ))
        .expect("a trigger");
    hiems_tests::call(&mut admin, "{}").expect("an answer");
    drop(admin);
    let (name, fake) = database.into_parts();
    let began = Instant::now();
    cluster.stop("fast");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    drop((name, fake));
}

/// The library with what no ERROR ends, in a folder that the server reads.
struct Stubborn(PathBuf);

impl Stubborn {
    fn compile(cluster: &Cluster) -> Stubborn {
        let stage = std::env::var_os("STAGE").expect("STAGE is not set: run `make test`");
        let folder = PathBuf::from(stage).join(format!("test-{}-stubborn", std::process::id()));
        std::fs::create_dir(&folder).expect("a folder");
        let pg_config = cluster.program("pg_config").get_program().to_owned();
        let headers =
            Command::new(pg_config).arg("--includedir-server").output().expect("pg_config");
        let headers = String::from_utf8(headers.stdout).expect("a folder's name");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire/supabase/stubborn.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror"])
            .args(["-I", headers.trim(), "-o"])
            .args([&folder.join("stubborn.so"), &source])
            .status();
        assert!(compiled.expect("cc runs").success());
        Stubborn(folder)
    }
}

impl Drop for Stubborn {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The gateway ends, and the server and its sessions do not; the next one broadcasts nothing until it is told to.
#[test]
fn what_no_error_ends_ends_the_gateway_once() {
    let project = Project::new();
    project.call("ada");
    project.wait_until_sent(2);
    let database = &project.database;
    let gateway = database.gateways();
    let stubborn = Stubborn::compile(hiems_tests::logical_cluster());
    let mut admin = database.admin();
    let library = stubborn.0.join("stubborn");
    let create = format!(
        "CREATE FUNCTION public.stubborn() RETURNS void LANGUAGE c AS '{}', 'stubborn'; {}",
        library.display(),
        send("PERFORM public.stubborn()")
    );
    admin.batch_execute(&create).expect("a function");
    let wishes = directives(&[("fake_delay_ms", "10000"), ("fake_cost", "0.75")]);
    let lost = Running::in_flight(database, database.admin(), &wishes, 1);
    hiems_tests::call(&mut admin, "{}").expect("an answer");
    wait_until("another gateway", SOON, || {
        let gateways = database.gateways();
        !gateways.is_empty() && gateways != gateway
    });
    assert_eq!(lost.end().1.sqlstate(), "PT502");
    // This session is still there, and so is the gateway after some more calls.
    let gateway = database.gateways();
    for _ in 0..3 {
        hiems_tests::call(&mut admin, "{}").expect("an answer");
    }
    database.wait_until_booked();
    assert_eq!(database.gateways(), gateway);
    assert_eq!(database.count("hiems.ai_usage_logs WHERE cost_usd = 0.75"), 1, "it is settled");
    assert_eq!(database.fake.requests().len(), database.ledger().len(), "nothing was sent again");
    let problems = project.problems();
    assert!(
        problems
            .iter()
            .any(|(name, _, detail)| name == "broadcast" && detail.contains("had to end")),
        "{problems:?}"
    );
    assert_eq!(project.events().len(), 2);
    mend(database);
    project.enable();
    assert!(project.problems().iter().all(|(name, ..)| name != "broadcast"));
    let id = project.call("ada");
    wait_until("it is broadcast again", SOON, || {
        project.events().iter().any(|(_, payload)| payload["id"] == id)
    });
}
