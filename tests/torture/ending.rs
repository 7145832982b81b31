//! How a call ends on its caller's side.

use std::process::Stdio;

use postgres::{Client, Error};

use crate::awaited::wait_for_answer;
use crate::form::{Call, Form};
use crate::world::{Expected, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Commit,
    /// Two calls in one transaction.
    Block,
    Rollback,
    Savepoint,
    ExceptionBlock,
    ErrorAfterCall,
    Limit,
    EarlyClose,
    Prepare,
    StatementTimeout,
    /// The client dies in the call, and its answer comes later.
    CallerGone,
}

/// As often as each is dealt.
pub const ENDINGS: &[Ending] = &[
    Ending::Commit,
    Ending::Commit,
    Ending::Commit,
    Ending::Commit,
    Ending::Block,
    Ending::Rollback,
    Ending::Savepoint,
    Ending::ExceptionBlock,
    Ending::ErrorAfterCall,
    Ending::Limit,
    Ending::EarlyClose,
    Ending::Prepare,
    Ending::StatementTimeout,
    Ending::CallerGone,
];

impl Ending {
    /// True where the call must last until it is broken off.
    pub fn needs_time(self) -> bool {
        matches!(self, Ending::StatementTimeout | Ending::CallerGone)
    }

    /// True where it does not need a transaction that goes on behind the call.
    pub fn suits_detached(self) -> bool {
        matches!(self, Ending::Commit | Ending::StatementTimeout | Ending::CallerGone)
    }

    /// The labels of the calls that may be made for one with this label.
    pub fn labels(self, label: &str) -> Vec<String> {
        match self {
            Ending::Block | Ending::Limit | Ending::EarlyClose => {
                (1..=2).map(|n| format!("{label}-{n}")).collect()
            }
            _ => vec![label.to_owned()],
        }
    }

    /// Makes the call in `client`, and ends it so. Notes what is to be expected of it, and gives the
    /// error that came in its way.
    pub fn carry_out(self, world: &World, client: &mut Client, call: &Call) -> Result<(), Error> {
        let commits = match self {
            Ending::Commit | Ending::Block | Ending::Limit | Ending::EarlyClose => true,
            // They say so themselves once they are resolved.
            Ending::Prepare => return prepare(world, client, call),
            Ending::CallerGone => {
                leave(world, call);
                return Ok(());
            }
            _ => false,
        };
        let result = self.statements(world, client, call);
        let expected = match &result {
            Ok(()) if commits => Expected::Committed,
            Err(error) if commits && is_in_doubt(error) => Expected::Any,
            // It is booked with its settlement: what comes between that and the answer changes nothing.
            _ if call.form == Form::Detached => Expected::Any,
            _ => Expected::NotCommitted,
        };
        for (i, label) in self.labels(&call.label).iter().enumerate() {
            // The second one is not asked for, and enqueued or not.
            let is_open = i > 0
                && call.form == Form::Queued
                && matches!(self, Ending::Limit | Ending::EarlyClose);
            world.expect(label, if is_open { Expected::Any } else { expected });
        }
        result
    }

    fn statements(self, world: &World, client: &mut Client, call: &Call) -> Result<(), Error> {
        let sql = call.sql();
        let each = format!("SELECT {} FROM generate_series(1, 2) AS i", call.sql_numbered());
        let mut run = |statements: &[&str]| {
            statements.iter().try_for_each(|statement| client.batch_execute(statement))
        };
        match self {
            Ending::Commit => run(&[&call.statement()]),
            Ending::Block => run(&["BEGIN", &each, "COMMIT"]),
            Ending::Rollback => run(&["BEGIN", &format!("SELECT {sql}"), "ROLLBACK"]),
            Ending::Savepoint => run(&[
                "BEGIN",
                "SAVEPOINT s",
                &format!("SELECT {sql}"),
                "ROLLBACK TO SAVEPOINT s",
                "COMMIT",
            ]),
            Ending::ExceptionBlock => {
                run(&[&format!("SELECT public.caught({})", crate::form::quote(&sql))])
            }
            Ending::ErrorAfterCall => {
                match run(&[&format!("SELECT {sql}, 1 / (random() * 0)::int")]) {
                    Err(error) if error.code().is_some_and(|code| code.code() == "22012") => Ok(()),
                    other => other,
                }
            }
            Ending::Limit => run(&[&format!("{each} LIMIT 1")]),
            Ending::EarlyClose => {
                let declare = format!("DECLARE c NO SCROLL CURSOR FOR {each}");
                run(&["BEGIN", &declare, "FETCH 1 FROM c", "CLOSE c", "COMMIT"])
            }
            Ending::StatementTimeout => {
                let (begin, end) = match call.form {
                    Form::Detached => {
                        ("SET statement_timeout = '100ms'", "RESET statement_timeout")
                    }
                    _ => ("BEGIN; SET LOCAL statement_timeout = '100ms'", "ROLLBACK"),
                };
                match run(&[begin, &call.statement(), end]) {
                    Err(error) if error.code().is_some_and(|code| code.code() == "57014") => {
                        client.batch_execute(end)?;
                        wait_for_answer(world, client, &error);
                        Ok(())
                    }
                    other => {
                        // The session goes on, if there is one.
                        let _ = client.batch_execute(end);
                        other
                    }
                }
            }
            Ending::Prepare | Ending::CallerGone => Ok(()),
        }
    }
}

/// True where a commit may have been done all the same: the error is not a statement's.
fn is_in_doubt(error: &Error) -> bool {
    error.as_db_error().is_none_or(|error| error.severity() != "ERROR")
}

fn prepare(world: &World, client: &mut Client, call: &Call) -> Result<(), Error> {
    let label = &call.label;
    client.batch_execute("BEGIN")?;
    client.batch_execute(&format!("SELECT {}", call.sql()))?;
    let prepared = client.batch_execute(&format!("PREPARE TRANSACTION '{label}'"));
    if prepared.as_ref().err().is_none_or(is_in_doubt) {
        let commits = label.bytes().map(u32::from).sum::<u32>().is_multiple_of(2);
        world.prepared.add(label, commits);
    }
    prepared
}

/// A client of its own makes the call, and dies once its generation has begun.
fn leave(world: &World, call: &Call) {
    let mut psql = world.server.psql(&call.statement());
    psql.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut client = psql.spawn().expect("psql runs");
    let fake = &world.server.fake;
    world
        .holds_within(20, || fake.has_begun(&call.label) || !matches!(client.try_wait(), Ok(None)));
    let _ = client.kill();
    let _ = client.wait();
}
