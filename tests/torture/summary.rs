//! What a run says of itself when it is over.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

use crate::bill::{Compared, Kind};

/// The end of a run.
pub struct Report {
    pub seed: u64,
    pub postgresql: String,
    pub calls: usize,
    pub took: Duration,
    pub faults: BTreeMap<String, usize>,
    pub endings: BTreeMap<String, usize>,
    pub upstream: BTreeMap<String, usize>,
    pub not_injectable: Vec<String>,
    pub compared: Compared,
}

/// More of one kind are not shown.
const SHOWN: usize = 25;

impl Report {
    pub fn is_clean(&self) -> bool {
        self.compared.differences.is_empty()
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter) -> Result {
        let Report { seed, postgresql, calls, compared, .. } = self;
        let faults: usize = self.faults.values().sum();
        let seconds = self.took.as_secs();
        writeln!(f, "torture: SEED={seed}, PostgreSQL {postgresql}")?;
        writeln!(f, "  faults: {}", listed(&self.faults))?;
        writeln!(f, "  endings: {}", listed(&self.endings))?;
        writeln!(f, "  upstream: {}", listed(&self.upstream))?;
        for what in &self.not_injectable {
            writeln!(f, "  SKIPPED: {what}: mounting a file system is not allowed here")?;
        }
        let (never, outage) = (compared.id_never_sent, compared.id_lost_in_outage);
        let nothing = compared.nothing_to_ask_for;
        writeln!(
            f,
            "  {} of unknown cost; allowed: {} ({never} ids never sent, {outage} in an outage, \
             {nothing} errors or outages without a generation); the machine was {:?} late at most",
            compared.unknown,
            never + outage + nothing,
            compared.latest
        )?;
        for kind in kinds(compared) {
            let of_kind: Vec<_> =
                compared.differences.iter().filter(|difference| difference.kind == kind).collect();
            writeln!(f, "  {kind:?}: {} differences", of_kind.len())?;
            for difference in of_kind.iter().take(SHOWN) {
                writeln!(f, "    {}", difference.text)?;
            }
        }
        let (generations, rows) = (compared.generations, compared.rows);
        let (unknown, differences) = (compared.unknown, compared.differences.len());
        write!(
            f,
            "summary: seed {seed}, PostgreSQL {postgresql}: {calls} calls, {faults} faults, \
             {generations} generations billed, {rows} calls booked, {unknown} of unknown cost, \
             {seconds} s: {differences} differences"
        )
    }
}

fn kinds(compared: &Compared) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = compared.differences.iter().map(|it| it.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

fn listed(counts: &BTreeMap<String, usize>) -> String {
    let each: Vec<String> = counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
    each.join(", ")
}
