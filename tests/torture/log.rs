//! What must not stand in the server's log.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::outage::Outage;

/// SQLSTATEs with which the injected faults end sessions: terminated, crashed, not up (again), the client
/// gone, no connection left, terminated before they had begun.
const OURS: [&str; 6] = ["57P01", "57P02", "57P03", "08006", "53300", "57014"];
/// While the WAL's disk is full: no room, and what cannot be read or written for that.
const OF_FULL_WAL: [&str; 2] = ["53100", "58030"];

/// The lines that should not be there. Each begins as `log_line_prefix = '%n %p %e '` says: the time, the
/// process, the SQLSTATE.
pub fn findings(log: &str, outages: &[Outage]) -> Vec<String> {
    let mut panics = false;
    log.lines()
        .filter(|line| {
            if let Some(at) = time_of(line) {
                panics = outages.iter().any(|outage| outage.panics && outage.holds(at));
            }
            is_finding(line, panics)
        })
        .map(str::to_owned)
        .collect()
}

fn is_finding(line: &str, panics: bool) -> bool {
    let mut words = line.splitn(5, ' ');
    let (state, level) = (words.nth(2).unwrap_or_default(), words.next().unwrap_or_default());
    let by_signal = |signal: &str| line.contains(&format!("was terminated by signal {signal}:"));
    match level {
        "PANIC:" => !panics,
        "FATAL:" => !(OURS.contains(&state) || panics && OF_FULL_WAL.contains(&state)),
        "DETAIL:" | "STATEMENT:" | "HINT:" | "CONTEXT:" | "QUERY:" => false,
        _ => {
            state.starts_with("XX")
                || line.contains("TRAP:")
                || line.contains("panicked at")
                || (line.contains("was terminated by signal ")
                    && !(by_signal("9") || (panics && by_signal("6"))))
        }
    }
}

fn time_of(line: &str) -> Option<SystemTime> {
    let (seconds, rest) = line.split_once(' ')?.0.split_once('.')?;
    let (seconds, milliseconds) = (seconds.parse().ok()?, rest.parse().ok()?);
    Some(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(milliseconds))
}

#[test]
fn what_must_not_be_is_found() {
    let line = |at: u64, rest: &str| format!("{at}.250 77 {rest}");
    let log = [
        line(1, "57P01 FATAL:  terminating connection due to administrator command"),
        line(1, "00000 LOG:  server process (PID 4) was terminated by signal 9: Killed"),
        line(2, "53100 PANIC:  could not write to file"),
        line(2, "00000 LOG:  server process (PID 4) was terminated by signal 6: Aborted"),
        line(3, "53100 PANIC:  could not write to file"),
        line(3, "XX000 ERROR:  cache lookup failed"),
        line(3, "28000 FATAL:  role does not exist"),
        line(3, "00000 LOG:  server process (PID 4) was terminated by signal 11: Segmentation"),
        "thread '<unnamed>' panicked at src/x.rs:1:1:".to_owned(),
    ];
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let full = Outage { from: at(2), to: at(3), panics: true, late: Duration::ZERO };
    assert_eq!(findings(&log.join("\n"), &[full]), log[4..]);
    assert_eq!(findings(&log.join("\n"), &[]), [&log[2..4], &log[4..]].concat());
}
