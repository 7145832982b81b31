//! hiems: call OpenRouter from SQL and keep an exact ledger of what it cost.
//!
//! Reading order is the order of a call. `ARCHITECTURE.md` tells the life of one.
#![deny(unsafe_code)]

/// The SQL functions: arguments, rights, one call each into what follows.
mod api;

/// Who calls, and what they may do.
mod access;
mod caller;

/// What every form of call begins and ends with: its arguments, and booking in the caller's transaction.
mod booking;
mod prompt;

/// The backend's side of a call: the connection to the gateway, and the frames that go over it.
mod gateway;

/// The gateway: the one process per database that holds the key and speaks HTTP.
mod worker;

/// OpenRouter's API, without PostgreSQL: requests, answers, what they cost, how they fail.
mod openrouter;

/// The program that compares answers with schemas.
mod validator;

/// How the key is sealed, and where the master key is.
mod vault;

/// The tables' owners: each is the only writer of its own.
mod contents;
mod idempotency;
mod keys;
mod ledger;
mod principals;
mod queue;
mod rates;

/// Channel `hiems_usage`, as the gateway tells it; and Supabase: its roles, publication and broadcast.
mod realtime;
mod supabase;

/// Many rows as one parameter of a statement.
mod rows;

/// What has become of a call whose caller does not have its answer.
mod collect;

/// Whether all of it is well.
mod health;

/// Settings, errors, and PostgreSQL's C interface.
mod error;
#[allow(unsafe_code)]
mod pg;
mod settings;

/// The database side, in install order.
mod schema;

use pgrx::prelude::*;

pgrx::pg_module_magic!(name, version);

#[allow(non_snake_case)]
#[pg_guard]
extern "C-unwind" fn _PG_init() {
    pg::session::disable_backtraces();
    settings::define();
    pg::drop_guard::install(error::refuse_drop);
}
