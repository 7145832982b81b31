//! hiems in a project of Supabase's: its roles, realtime, and what is wrong with them.

use pgrx::iter::TableIterator;
use pgrx::prelude::*;

use crate::access::{self, Level};
use crate::error::{Error, or_raise};
use crate::health::Finding;
use crate::supabase::{self, Step};

/// Opens hiems to Supabase's roles, and its ledger to Realtime: a row per step. Raises 42501 without the level
/// admin, 25006 in a read-only transaction.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn enable_supabase() -> TableIterator<
    'static,
    (
        name!(step, String),
        name!(status, String),
        name!(detail, String),
        name!(hint, Option<String>),
    ),
> {
    rows(or_raise(change(supabase::enable)))
}

/// Takes back what enable_supabase gave: a row per step. Raises as that does.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn disable_supabase() -> TableIterator<
    'static,
    (
        name!(step, String),
        name!(status, String),
        name!(detail, String),
        name!(hint, Option<String>),
    ),
> {
    rows(or_raise(change(supabase::disable)))
}

/// What is wrong, and what mends it. Reads only. Raises 42501 without the level admin.
#[pg_extern(schema = "hiems", stable, parallel_unsafe)]
fn check_supabase() -> TableIterator<
    'static,
    (
        name!(name, String),
        name!(status, String),
        name!(detail, String),
        name!(hint, Option<String>),
    ),
> {
    let findings = or_raise(check());
    TableIterator::new(findings.into_iter().map(|finding| {
        let Finding { name, status, detail, hint } = finding;
        (name.to_owned(), status.to_owned(), detail, hint)
    }))
}

type Row = (String, String, String, Option<String>);

fn rows(steps: Vec<Step>) -> TableIterator<'static, Row> {
    TableIterator::new(steps.into_iter().map(|step| {
        let Step { name, status, detail, hint } = step;
        (name.to_owned(), status.to_owned(), detail, hint.map(str::to_owned))
    }))
}

fn change(steps: fn() -> Result<Vec<Step>, Error>) -> Result<Vec<Step>, Error> {
    access::require_to_change(Level::Admin)?;
    steps()
}

fn check() -> Result<Vec<Finding>, Error> {
    access::require(Level::Admin)?;
    supabase::check()
}
