//! The ledger against the bill, generation by generation.

use std::collections::BTreeSet;
use std::time::Duration;

use hiems_tests::Generation;

use crate::form::Form;
use crate::outage::{self, Outage};
use crate::rows::{self, Row};
use crate::world::{Expected, Made, World};

/// What a difference is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Billed, and not in the ledger.
    NotBooked,
    /// More than one row, or more than one generation, of one call.
    Twice,
    /// Another amount than was billed, or one where nothing was.
    Amount,
    /// Unknown, though the id could be had.
    Unknown,
    /// Another outcome than its caller saw, or another generation.
    Outcome,
    /// Something that is not over when all is quiet.
    Left,
    /// What should not be in the server's log.
    Log,
    /// A kind of thing that was to happen, and never did.
    NotInjected,
}

/// One difference.
#[derive(Debug)]
pub struct Difference {
    pub kind: Kind,
    pub text: String,
}

impl Difference {
    pub fn new(kind: Kind, text: impl Into<String>) -> Difference {
        Difference { kind, text: text.into() }
    }
}

/// What was compared.
#[derive(Default)]
pub struct Compared {
    pub generations: usize,
    pub rows: usize,
    /// Rows whose cost is not known, and how many may be.
    pub unknown: usize,
    pub id_never_sent: usize,
    pub id_lost_in_outage: usize,
    /// The most that was added to an outage since the machine had no time.
    pub latest: Duration,
    pub nothing_to_ask_for: usize,
    pub differences: Vec<Difference>,
}

const ORPHANS: &str = "
    SELECT l.id::text FROM hiems.ai_usage_logs AS l
    WHERE l.adjusts IS NOT NULL
      AND NOT EXISTS (SELECT FROM hiems.ai_usage_logs AS of WHERE of.id = l.adjusts)";
const GIVEN_UP: &str = "
    SELECT entry ->> 'user_id' FROM hiems_private.queue WHERE state = 'failed'";
const NUMERIC: &str = "
    SELECT trim_scale(token::numeric)::text
    FROM unnest($1::text[]) WITH ORDINALITY AS t (token, place) ORDER BY place";

/// How long after its start a call may still be waiting for an answer, or for its next attempt.
const LONGEST_CALL: Duration = Duration::from_secs(6);

/// Compares everything; to be called when all is quiet.
pub fn compare(world: &World) -> Compared {
    let mut admin = world.server.admin();
    let outages = world.outages.all();
    let generations = world.server.fake.bill();
    let mut rows = rows::read(&mut admin);
    let mut compared = Compared {
        generations: generations.len(),
        rows: rows.values().map(Vec::len).sum(),
        latest: outages.iter().map(|outage| outage.late).max().unwrap_or_default(),
        ..Compared::default()
    };
    let tokens: Vec<&str> = generations.iter().map(|generation| &*generation.cost).collect();
    let amounts: Vec<String> = admin
        .query(NUMERIC, &[&tokens])
        .expect("the bill in numeric")
        .iter()
        .map(|row| row.get(0))
        .collect();
    let made = world.made.lock().expect("the calls");
    let mut seen = BTreeSet::new();
    let booked: BTreeSet<String> = rows.keys().cloned().collect();
    for (generation, amount) in generations.iter().zip(amounts) {
        let label = generation.user.clone().unwrap_or_default();
        if !generation.billed {
            compared.differs(Kind::Left, format!("{label}: {} is not finished", generation.id));
        }
        if !seen.insert(label.clone()) {
            compared.differs(Kind::Twice, format!("{label}: generated more than once"));
        }
        let of_label = rows.remove(&label).unwrap_or_default();
        let [row] = &of_label[..] else {
            let (kind, count) = (Kind::of_count(of_label.len()), of_label.len());
            compared.differs(kind, format!("{label}: {count} rows of {}", generation.id));
            continue;
        };
        compared.generation(row, &label, made.get(&label), generation, &amount, &outages);
        compared.outcome(row, &label, made.get(&label));
    }
    for (label, of_label) in &rows {
        for row in of_label {
            compared.ungenerated(row, label, made.get(label), &outages);
            compared.outcome(row, label, made.get(label));
        }
        if of_label.len() > 1 {
            compared.differs(Kind::Twice, format!("{label}: {} rows", of_label.len()));
        }
    }
    let given_up: BTreeSet<String> =
        admin.query(GIVEN_UP, &[]).expect("the queue").iter().map(|row| row.get(0)).collect();
    for (label, made) in made.iter() {
        let is_due = made.form == Form::Queued && made.expected == Expected::Committed;
        if is_due && !booked.contains(label) && !given_up.contains(label) {
            compared.differs(Kind::NotBooked, format!("{label}: enqueued, and never made"));
        }
    }
    for row in admin.query(ORPHANS, &[]).expect("the ledger") {
        let id: String = row.get(0);
        compared.differs(Kind::Amount, format!("row {id} corrects none"));
    }
    compared
}

impl Kind {
    fn of_count(rows: usize) -> Kind {
        if rows == 0 { Kind::NotBooked } else { Kind::Twice }
    }
}

impl Compared {
    fn differs(&mut self, kind: Kind, text: impl Into<String>) {
        self.differences.push(Difference::new(kind, text));
    }

    /// The row of a generation.
    fn generation(
        &mut self,
        row: &Row,
        label: &str,
        made: Option<&Made>,
        generation: &Generation,
        billed: &str,
        outages: &[Outage],
    ) {
        let id = &generation.id;
        let in_outage =
            generation.id_sent_at.is_some_and(|at| outages.iter().any(|outage| outage.holds(at)));
        self.id_never_sent += usize::from(!generation.id_sent);
        self.id_lost_in_outage += usize::from(in_outage);
        if row.generation_id.as_ref().is_some_and(|of_row| of_row != id) {
            let of_row = row.generation_id.as_deref().unwrap_or_default();
            self.differs(Kind::Outcome, format!("{label}: row {} has {of_row}, not {id}", row.id));
        }
        match &row.amount {
            Some(amount) if amount == billed => {}
            Some(amount) => {
                self.differs(Kind::Amount, format!("{label}: {amount} booked, {billed} billed"));
            }
            None => {
                self.unknown += 1;
                let could_be_had = row.generation_id.is_some() || generation.id_sent && !in_outage;
                if could_be_had {
                    let text = describe(row, made, generation, billed, outages);
                    self.differs(Kind::Unknown, format!("{label}: {text}"));
                }
            }
        }
    }

    /// A row of a call that generated nothing.
    fn ungenerated(&mut self, row: &Row, label: &str, made: Option<&Made>, outages: &[Outage]) {
        let leaves_open = made.is_some_and(|made| made.leaves_open);
        let in_outage = outages.iter().any(|outage| {
            outage.to >= row.created_at && outage.from <= row.created_at + LONGEST_CALL
        });
        self.nothing_to_ask_for += usize::from(leaves_open || in_outage);
        match row.amount.as_deref() {
            Some("0") => {}
            Some(amount) => {
                self.differs(Kind::Amount, format!("{label}: {amount} booked, nothing billed"));
            }
            None => {
                self.unknown += 1;
                if !(leaves_open || in_outage) {
                    let text = describe_ungenerated(row, made, outages);
                    self.differs(Kind::Unknown, format!("{label}: {text}"));
                }
            }
        }
    }

    fn outcome(&mut self, row: &Row, label: &str, made: Option<&Made>) {
        let Some(made) = made else {
            self.differs(Kind::Outcome, format!("{label}: a row of no call"));
            return;
        };
        let is_committed = row.outcome == "committed";
        let fits = match made.expected {
            // Its caller did not wait for it.
            Expected::Committed if made.form == Form::Queued => {
                matches!(row.outcome.as_str(), "committed" | "failed" | "unknown")
            }
            Expected::NotCommitted if made.form == Form::Queued => false,
            Expected::Committed => is_committed,
            Expected::NotCommitted => !is_committed,
            Expected::Any => true,
        };
        if !fits {
            let (outcome, expected) = (&row.outcome, made.expected);
            self.differs(Kind::Outcome, format!("{label}: {outcome}, its caller saw {expected:?}"));
        }
    }
}

/// What there is to know of a call that generated nothing, and whose cost is not known.
fn describe_ungenerated(row: &Row, made: Option<&Made>, outages: &[Outage]) -> String {
    let made =
        made.map_or("no call".to_owned(), |made| format!("{:?}, {}", made.form, made.upstream));
    let before = outage::early(outages, row.created_at);
    let before = before.map_or_else(String::new, |by| format!(", made {by:?} before an outage"));
    let (outcome, error) = (&row.outcome, row.error_code.as_deref().unwrap_or("no error"));
    let id = row.generation_id.as_deref().unwrap_or("no id");
    format!("{outcome} ({made}), {error}, {id}, cost not known, nothing generated{before}")
}

/// What there is to know of a generation whose cost is not known.
fn describe(
    row: &Row,
    made: Option<&Made>,
    generation: &Generation,
    billed: &str,
    outages: &[Outage],
) -> String {
    let upstream = made.map_or("no call", |made| made.upstream);
    let has = if row.generation_id.is_some() { "its id" } else { "no id" };
    let early = generation.id_sent_at.and_then(|at| outage::early(outages, at));
    let early =
        early.map_or_else(String::new, |by| format!("; sent {by:?} too early for an outage"));
    let (id, outcome) = (&generation.id, &row.outcome);
    format!("{outcome} ({upstream}), no cost and {has}; {id} is billed with {billed}{early}")
}
