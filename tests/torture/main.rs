//! Everything goes wrong, at random, under calls of every form; afterwards the ledger is compared with the
//! fake's bill, generation by generation. SEED, CALLS and FAULTS say which run it is (`make torture`);
//! without them it is a short one that does each thing at least once.

mod awaited;
mod bill;
mod caller;
mod disk;
mod ending;
mod fault;
mod form;
mod held;
mod inject;
mod log;
mod outage;
mod plan;
mod prepared;
mod pulse;
mod quiet;
mod rows;
mod run;
mod server;
mod starve;
mod summary;
mod switched_off;
mod upstream;
mod world;

use plan::Plan;

#[test]
fn the_ledger_equals_the_bill_whatever_goes_wrong() {
    let report = run::run(Plan::of_environment());
    println!("{report}");
    assert!(report.is_clean(), "seed {}: see above", report.seed);
}
