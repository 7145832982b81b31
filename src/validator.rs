//! hiems-validator, the program that compares an answer with a schema: `validator/` is its source, and it is installed
//! beside this library.
//!
//! A schema of 2 kB can take minutes and all memory of the machine, and so can an answer. So neither is worked on in a
//! process of PostgreSQL's: the program sets limits for itself, and the session, which waits for it, can be cancelled.

// The program is its other half.
#[allow(dead_code)]
#[path = "../validator/src/format.rs"]
mod format;

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use self::format::{Kind, MEMORY_MB, PROCESSOR_SECONDS};
use crate::error::Error;
use crate::openrouter::failure::{Failure, FailureKind};
use crate::openrouter::request::BadRequest;
use crate::openrouter::schema;
use crate::pg::interrupts;
use crate::pg::program::{self, Program};
use crate::pg::wait::{Interest, WaitSet};

const NAME: &str = "hiems-validator";
/// How long it is waited for: on a busy machine the processor's time that it may have takes longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Of what it says, in octets: more than it ever does.
const MAX_OUTPUT: usize = 16 * 1024;

/// Refuses a schema that cannot be used (22023), or takes too much work (22023); PT503 where the program cannot be
/// started. To be asked before anything is sent. The wait can be cancelled.
pub fn check_schema(schema: &str) -> Result<(), Error> {
    match run(schema, "") {
        Ok(Found::Valid) => Ok(()),
        Ok(Found::Wrong(what)) => Err(schema::bad(what).into()),
        Ok(Found::TooMuch(limit)) => Err(BadRequest {
            message: "the schema takes too much work".to_owned(),
            detail: format!("Trying it took more than {limit}."),
            hint: "Take fewer alternatives (anyOf, oneOf, allOf, $ref to one of them), and shorter patterns."
                .to_owned(),
        }
        .into()),
        Err(why) => Err(Error::Call {
            failure: Failure::new(FailureKind::Unavailable, "the schema cannot be tried")
                .detail(why)
                .hint("hiems-validator has to lie beside the library of hiems, for the server's user to run: `make install` lays it there. After an upgrade, connect again."),
            call: None,
        }),
    }
}

/// Compares an answer, which is JSON, with a schema that [`check_schema`] has passed. The error: what is wrong, and
/// where, or why that cannot be said. The wait can be cancelled.
pub fn compare(schema: &str, answer: &str) -> Result<(), String> {
    match run(schema, answer) {
        Ok(Found::Valid) => Ok(()),
        Ok(Found::Wrong(what)) => Err(what),
        Ok(Found::TooMuch(limit)) => {
            Err(format!("comparing it with the schema took more than {limit}"))
        }
        Err(why) => Err(format!("it could not be compared with the schema: {why}")),
    }
}

/// What the program has found.
enum Found {
    Valid,
    /// What is wrong, and where.
    Wrong(String),
    /// The limit that was reached.
    TooMuch(String),
}

/// Runs the program once. The error: why it could not be run.
fn run(schema: &str, answer: &str) -> Result<Found, String> {
    let path = program::beside_library(NAME).ok_or("Its folder is not known.")?;
    let cannot_start = |error: io::Error| format!("{}: {error}.", path.display());
    let mut program = Program::start(&path).map_err(cannot_start)?;
    program.stream.set_nonblocking(true).map_err(cannot_start)?;
    // Made after the program, so that it is dropped before the stream that it refers to.
    let mut waiting = Waiting {
        set: WaitSet::new(program.stream.as_raw_fd()),
        deadline: Instant::now() + PATIENCE,
    };
    let prefix = format::prefix(schema.as_bytes(), answer.as_bytes());
    let output =
        converse(&mut program, &mut waiting, &[&prefix, schema.as_bytes(), answer.as_bytes()]);
    let output = match output {
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            return Ok(Found::TooMuch(format!("{} s", PATIENCE.as_secs())));
        }
        output => output.map_err(cannot_start)?,
    };
    let (octet, text) = output.split_first().ok_or(format!("{NAME} ended without a word."))?;
    let text = String::from_utf8_lossy(text).into_owned();
    match Kind::of(*octet).ok_or(format!("{NAME} cannot be understood."))? {
        Kind::Valid => Ok(Found::Valid),
        Kind::BadSchema | Kind::Mismatch => Ok(Found::Wrong(text)),
        Kind::OutOfTime => Ok(Found::TooMuch(format!("{PROCESSOR_SECONDS} s of the processor"))),
        Kind::OutOfMemory => Ok(Found::TooMuch(format!("{MEMORY_MB} MB of memory"))),
        Kind::TooDeep => Ok(Found::TooMuch("the stack can hold".to_owned())),
    }
}

/// Hands the program its input, and gives what it says.
fn converse(program: &mut Program, waiting: &mut Waiting, input: &[&[u8]]) -> io::Result<Vec<u8>> {
    for part in input {
        let mut rest = *part;
        while !rest.is_empty() {
            match waiting.until(Interest::Writable, || program.stream.write(rest)) {
                Ok(written) => rest = &rest[written..],
                // It has ended, and may have said why.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
                Err(error) => return Err(error),
            }
        }
    }
    let _ = program.stream.shutdown(Shutdown::Write);
    let mut output = vec![0; MAX_OUTPUT];
    let mut filled = 0;
    while filled < MAX_OUTPUT {
        let room = &mut output[filled..];
        match waiting.until(Interest::Readable, || program.stream.read(room)) {
            // It has ended without having read all.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Ok(0) => break,
            read => filled += read?,
        }
    }
    output.truncate(filled);
    Ok(output)
}

struct Waiting {
    set: WaitSet,
    deadline: Instant,
}

impl Waiting {
    /// Does what would have to wait for the descriptor, once that is over.
    fn until(
        &mut self,
        interest: Interest,
        mut done: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match done() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    interrupts::check();
                    let left = self.deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(ErrorKind::TimedOut.into());
                    }
                    self.set.wait(interest, Some(left));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}
