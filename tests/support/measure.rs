//! What benchmarks measure with. Contenders take turns in every round, so that whatever else the machine does
//! meanwhile slows them all; of several rounds the median counts.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use postgres::{Client, Statement};

use crate::{Cluster, Database};

/// The one in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The value that `part` (0 to 1) of all are at most.
pub fn percentile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part).ceil() as usize).copied().unwrap_or_default()
}

/// How often something is measured of each contender.
pub const ROUNDS: usize = 3;

/// Measures all contenders in turn, [`ROUNDS`] times; gives each one's figures, round by round.
pub fn in_turn<T>(contenders: usize, mut measure: impl FnMut(usize) -> T) -> Vec<Vec<T>> {
    let mut measured: Vec<Vec<T>> = (0..contenders).map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (contender, figures) in measured.iter_mut().enumerate() {
            figures.push(measure(contender));
        }
    }
    measured
}

/// The CPU time that a server has used so far, with all its processes, also those that have ended.
pub fn cpu_of(cluster: &Cluster) -> Duration {
    let postmaster = cluster.postmaster();
    // Of the postmaster its ended children count, too.
    let of_children = |pid: i32| stat(pid).filter(|stat| stat.parent == postmaster);
    let living: u64 = pids().filter_map(of_children).map(|stat| stat.own).sum();
    let own = stat(postmaster).map_or(0, |stat| stat.own + stat.ended_children);
    // SAFETY: reads a constant of the system's.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_secs_f64((living + own) as f64 / per_second as f64)
}

struct Stat {
    parent: i32,
    own: u64,
    ended_children: u64,
}

/// In clock ticks. Source: proc(5), /proc/pid/stat.
fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold blanks.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own: number(11)? + number(12)?,
        ended_children: number(13)? + number(14)?,
    })
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The memory of a process that is its own and in use, in MB (RSS less what it shares).
pub fn memory_of(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kilobytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<f64>().ok()
    };
    kilobytes("RssAnon:").unwrap_or_default() / 1024.0
}

/// The largest that `measure` gives while `work` is done.
pub fn peak<T>(measure: impl Fn() -> f64 + Sync, work: impl FnOnce() -> T) -> (f64, T) {
    let is_done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut largest = measure();
            while !is_done.load(std::sync::atomic::Ordering::Acquire) {
                thread::park_timeout(Duration::from_millis(2));
                largest = largest.max(measure());
            }
            largest
        });
        let done = work();
        is_done.store(true, std::sync::atomic::Ordering::Release);
        (watcher.join().expect("the watcher's thread"), done)
    })
}

/// What a run of [`Sessions`] has come to.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub per_second: f64,
    /// Of the server, until everything is booked, in ms.
    pub cpu_per_call: f64,
}

/// Sessions that run one statement again and again: kept from run to run, as an application's are.
pub struct Sessions<'d, 'c> {
    cluster: &'c Cluster,
    database: &'d Database<'c>,
    clients: Vec<(Client, Statement)>,
}

impl<'d, 'c> Sessions<'d, 'c> {
    /// Sessions that have run it some times.
    pub fn open(
        cluster: &'c Cluster,
        database: &'d Database<'c>,
        statement: &str,
        sessions: usize,
    ) -> Sessions<'d, 'c> {
        let open = || {
            let mut client = database.admin();
            let statement = client.prepare(statement).expect(statement);
            for _ in 0..10 {
                client.query_one(&statement, &[]).expect("an answer");
            }
            (client, statement)
        };
        let clients = thread::scope(|scope| {
            let threads: Vec<_> = (0..sessions).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().expect("a session")).collect()
        });
        Sessions { cluster, database, clients }
    }

    /// Runs it in all sessions for so long, and waits until the journal is empty.
    pub fn run(&mut self, time: Duration) -> Run {
        let before = cpu_of(self.cluster);
        let began = Instant::now();
        let calls: usize = thread::scope(|scope| {
            let run = |(client, statement): &mut (Client, Statement)| {
                let mut calls = 0_usize;
                while began.elapsed() < time {
                    client.query_one(statement, &[]).expect("an answer");
                    calls += 1;
                }
                calls
            };
            let threads: Vec<_> =
                self.clients.iter_mut().map(|session| scope.spawn(move || run(session))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a session")).sum()
        });
        let per_second = calls as f64 / began.elapsed().as_secs_f64();
        self.database.wait_until_booked();
        let cpu = cpu_of(self.cluster).saturating_sub(before);
        Run { per_second, cpu_per_call: cpu.as_secs_f64() * 1_000.0 / calls as f64 }
    }
}

/// How long something takes, in ms.
pub fn time_of<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let began = Instant::now();
    let done = work();
    (began.elapsed().as_secs_f64() * 1_000.0, done)
}

/// The process that serves a session.
pub fn backend_of(client: &mut Client) -> i32 {
    client.query_one("SELECT pg_backend_pid()", &[]).expect("a session").get(0)
}

/// Prints a table: its columns as wide as they have to be.
pub fn print_table(title: &str, rows: &[Vec<String>]) {
    println!("\n{title}");
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        println!("{}", cells.collect::<Vec<_>>().join(" | ").trim_end());
    }
}
