//! hiems-validator, as a session of PostgreSQL runs it: it ends within its limits, and never by a signal.

#[path = "../src/format.rs"]
#[allow(dead_code)]
mod format;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use format::{Kind, MEMORY_MB, PROCESSOR_SECONDS};
use serde_json::{Map, Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hiems-validator");

fn start() -> Child {
    let mut command = Command::new(PROGRAM);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).env_clear();
    command.spawn().expect("the program starts")
}

fn input(schema: &str, answer: &str) -> Vec<u8> {
    let prefix = format::prefix(schema.as_bytes(), answer.as_bytes());
    [&prefix, schema.as_bytes(), answer.as_bytes()].concat()
}

/// Its status, and what it says.
fn run(input: &[u8]) -> (ExitStatus, Vec<u8>) {
    let mut program = start();
    // It may end before it has read all.
    let _ = program.stdin.take().expect("a pipe").write_all(input);
    let output = program.wait_with_output().expect("it ends");
    (output.status, output.stdout)
}

fn found(schema: &Value, answer: &str) -> (Option<i32>, Option<Kind>) {
    let (status, output) = run(&input(&schema.to_string(), answer));
    (status.code(), output.first().and_then(|octet| Kind::of(*octet)))
}

/// A schema that looks 2^levels times at one place.
fn doubling(levels: usize) -> Value {
    let next = |n: usize| json!({"$ref": format!("#/$defs/{n}")});
    let definitions: Map<String, Value> = (0..levels)
        .map(|n| {
            let last = json!({"type": "string"});
            (
                n.to_string(),
                if n == 0 { last } else { json!({"anyOf": [next(n - 1), next(n - 1)]}) },
            )
        })
        .collect();
    json!({"$defs": definitions, "$ref": format!("#/$defs/{}", levels - 1)})
}

#[test]
fn what_is_found_comes_with_status_0() {
    assert_eq!(found(&json!({}), ""), (Some(0), Some(Kind::Valid)));
    assert_eq!(found(&json!({"type": "string"}), r#""x""#), (Some(0), Some(Kind::Valid)));
    assert_eq!(found(&json!({"type": "string"}), "1"), (Some(0), Some(Kind::Mismatch)));
    assert_eq!(found(&json!({"type": "text"}), "1"), (Some(0), Some(Kind::BadSchema)));
}

#[test]
fn what_takes_too_much_ends_with_status_1() {
    let begin = Instant::now();
    let tree = json!({"anyOf": [{"type": "string"}, {"type": "array", "items":
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}]});
    let nested = format!("{}1{}", "[".repeat(90), "]".repeat(90));
    let numbers = format!("[{}1e7000]", "1e7000,".repeat(2_000));
    let small: Value = serde_json::from_str(r#"{"items": {"multipleOf": 1e-7000}}"#).expect("JSON");
    let large = format!("[{}1]", "{\"a\":[]},".repeat(1_000_000));
    let limits = [Kind::OutOfTime, Kind::OutOfMemory, Kind::TooDeep];
    let cases = [
        (doubling(20), "", &limits[1..]),
        (doubling(60), "", &limits[..]),
        (doubling(60), "1", &limits[..]),
        (tree, &nested, &limits[..]),
        (small, &numbers, &limits[..1]),
        (json!({}), &large, &limits[1..2]),
    ];
    for (schema, answer, expected) in cases {
        let (status, kind) = found(&schema, answer);
        assert_eq!(status, Some(1), "{kind:?}");
        assert!(kind.is_some_and(|kind| expected.contains(&kind)), "{kind:?}");
    }
    assert!(begin.elapsed() < Duration::from_secs(120), "{:?}", begin.elapsed());
}

#[test]
fn what_is_no_whole_request_has_no_verdict() {
    let whole = input("{}", "1");
    let mut other_version = whole.clone();
    other_version[0] += 1;
    let mut longer = whole.clone();
    longer.push(b'1');
    for input in [&whole[..0], &whole[..10], &whole[..whole.len() - 1], &longer, &other_version] {
        let (status, output) = run(input);
        assert_eq!((status.code(), output.len()), (Some(1), 0), "{input:?}");
    }
}

/// Waits until the program's limits are set: that on cores is the last one.
fn limits_of(pid: u32) -> String {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
        if value(&limits, "Max core file size") == Some("1") {
            return limits;
        }
        assert!(Instant::now() < end, "{limits}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn value<'l>(limits: &'l str, name: &str) -> Option<&'l str> {
    limits.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()
}

#[test]
fn limits_are_set_before_anything_is_read() {
    let mut program = start();
    let limits = limits_of(program.id());
    let memory = (MEMORY_MB << 20).to_string();
    for (name, limit) in [
        ("Max cpu time", PROCESSOR_SECONDS.to_string().as_str()),
        ("Max address space", &memory),
        ("Max processes", "0"),
        ("Max open files", "5"),
        ("Max file size", "0"),
    ] {
        assert_eq!(value(&limits, name), Some(limit), "{limits}");
    }
    let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", program.id()));
    assert_eq!(score.expect("a score").trim(), "1000");
    drop(program.stdin.take());
    assert_eq!(program.wait().expect("it ends").code(), Some(1));
}

#[test]
fn it_ends_with_whoever_started_it_and_not_by_a_signal() {
    // The orphan becomes this process's child, as it becomes the postmaster's in a container.
    // SAFETY: a plain call.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    let mut parent = Command::new("sh")
        .args(["-c", r#"exec 3<&0; "$0" <&3 & echo $!; wait"#, PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh runs");
    let mut output = BufReader::new(parent.stdout.take().expect("a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    let pid: i32 = line.trim().parse().expect("a process id");
    limits_of(pid as u32);
    parent.kill().expect("a signal");
    parent.wait().expect("it ends");
    // Its standard input is open still: it ends for the signal, and its output with it.
    output.read_to_end(&mut Vec::new()).expect("the end");
    let mut status = 0;
    // SAFETY: waits for a child of this process.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 1, "{status}");
}
