//! Everything goes wrong, at random, under calls of every form; afterwards the ledger is compared with the
//! fake's bill, generation by generation. SEED, CALLS and FAULTS say which run it is (`make torture`);
//! without them it is a short one that does each thing at least once.

#[path = "torture/awaited.rs"]
mod awaited;
#[path = "torture/bill.rs"]
mod bill;
#[path = "torture/caller.rs"]
mod caller;
#[path = "torture/disk.rs"]
mod disk;
#[path = "torture/ending.rs"]
mod ending;
#[path = "torture/fault.rs"]
mod fault;
#[path = "torture/form.rs"]
mod form;
#[path = "torture/held.rs"]
mod held;
#[path = "torture/inject.rs"]
mod inject;
#[path = "torture/log.rs"]
mod log;
#[path = "torture/outage.rs"]
mod outage;
#[path = "torture/plan.rs"]
mod plan;
#[path = "torture/prepared.rs"]
mod prepared;
#[path = "torture/pulse.rs"]
mod pulse;
#[path = "torture/quiet.rs"]
mod quiet;
#[path = "torture/rows.rs"]
mod rows;
#[path = "torture/run.rs"]
mod run;
#[path = "torture/server.rs"]
mod server;
#[path = "torture/starve.rs"]
mod starve;
#[path = "torture/summary.rs"]
mod summary;
#[path = "torture/switched_off.rs"]
mod switched_off;
#[path = "torture/upstream.rs"]
mod upstream;
#[path = "torture/world.rs"]
mod world;

use plan::Plan;

#[test]
fn the_ledger_equals_the_bill_whatever_goes_wrong() {
    let report = run::run(Plan::of_environment());
    println!("{report}");
    assert!(report.is_clean(), "seed {}: see above", report.seed);
}
