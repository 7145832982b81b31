//! Very many small calls: time and memory grow with their number, and no faster.

use std::time::{Duration, Instant};

use hiems_tests::{Database, Running, wait_until};

use super::{SOON, booked, many, outcomes, request, submit};

/// The most memory that a process has had, without the server's shared memory, in bytes.
fn peak(pid: i32) -> u64 {
    let of = |name: &str| memory(pid, name);
    of("VmHWM:").saturating_sub(of("RssShmem:"))
}

fn memory(pid: i32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Of the files that keep the ids of generations in flight: about 120 bytes for each.
fn length_of_ids(database: &str) -> u64 {
    let entries = std::fs::read_dir(hiems_tests::cluster().data()).expect("the data directory");
    let prefix = format!("hiems_ids.{database}.");
    let of_ids = entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(&prefix));
    of_ids.map(|entry| entry.metadata().expect("a file").len()).sum()
}

#[test]
fn five_thousand_small_ones_are_made_and_booked() {
    let database = Database::new();
    let mut client = database.admin();
    let began = Instant::now();
    let answers = submit(&mut client, &many(5000, &[]), ", 100").expect("rows");
    println!("5000 calls took {:?}", began.elapsed());
    assert!(answers.iter().all(|answer| answer.content.is_some()));
    assert_eq!(booked(&database), outcomes(&[("committed", 5000)]));
    assert!(database.fake.most_in_flight() <= 100);
}

#[test]
fn ten_thousand_of_a_kilobyte_take_little_memory() {
    let database = Database::with("hiems.max_in_flight", "1000");
    let text = "x".repeat(1000);
    let requests: Vec<_> =
        (0..10_000).map(|_| request(&text[..400], &[("note", &text[..500])])).collect();
    let gateway = database.gateways()[0];
    println!("the gateway had {} MB before", peak(gateway) >> 20);
    let running = Running::with(database.admin(), move |client| {
        let began = Instant::now();
        let answers = submit(client, &requests, ", 500")?;
        println!("10000 calls took {:?}", began.elapsed());
        let own = peak(client.query_one("SELECT pg_backend_pid()", &[])?.get(0));
        println!("the backend took {} MB at most", own >> 20);
        Ok(answers.iter().filter(|answer| answer.content.is_some()).count().to_string())
    });
    assert_eq!(running.end().1.expect("rows"), "10000");
    let most = peak(gateway) >> 20;
    println!("the gateway took {most} MB at most");
    assert!(most < 200, "{most} MB");
    // What is in the journal does not stay beside it.
    let ids = length_of_ids(&database.oid());
    println!("the ids of generations took {} kB", ids >> 10);
    assert!((1..1 << 20).contains(&ids), "{ids} bytes");
    let slow = Instant::now();
    wait_until("the journal is empty", SOON, || database.count("hiems_private.calls") == 0);
    assert!(slow.elapsed() < Duration::from_secs(30));
    assert_eq!(database.fake.bill().len(), 10_000);
    assert_eq!(database.count("hiems.ai_usage_logs WHERE outcome = 'committed'"), 10_000);
}
