//! The test of the test: with a part of hiems switched off, torture finds what is missing.

use std::time::Duration;

use crate::bill::Kind;
use crate::fault::Fault;
use crate::plan::Plan;
use crate::run;
use crate::summary::Report;

/// A small run with these faults, where `part` does nothing.
fn run_without(part: &'static str, kinds: &[Fault], faults: usize) -> Report {
    let report = run::run(Plan {
        seed: 20_261_124,
        calls: 120,
        faults,
        kinds: kinds.to_vec(),
        is_whole: false,
        switched_off: Some(part),
        quiet_deadline: Duration::from_secs(8),
        ..Plan::of_environment()
    });
    println!("without the {part}: {report}");
    report
}

/// How many differences there are of a kind.
fn count(report: &Report, kind: Kind) -> usize {
    report.compared.differences.iter().filter(|difference| difference.kind == kind).count()
}

#[test]
fn without_the_sweep_calls_are_left_unbooked() {
    let report = run_without("sweep", &[Fault::CancelCallers], 2);
    assert_ne!(count(&report, Kind::NotBooked), 0);
    assert_ne!(count(&report, Kind::Left), 0);
}

#[test]
fn without_the_intent_a_killed_gateway_leaves_calls_out_of_the_ledger() {
    let report = run_without("intent", &[Fault::KillGateway], 4);
    assert_ne!(count(&report, Kind::NotBooked), 0);
}

#[test]
fn without_the_settlement_a_cost_stays_unknown_that_could_be_had() {
    let report = run_without("settlement", &[Fault::CancelCallers], 1);
    assert_ne!(count(&report, Kind::Unknown) + count(&report, Kind::Left), 0);
}
