//! What goes in and out of hiems-validator, and what it may use: hiems compiles this file, too.
//!
//! In: [`prefix`], the schema, the answer. An answer of no octets: the schema alone is looked at. Out: a [`Kind`], one
//! octet, and behind some a text. The exit status is 0; 1 where a limit was reached, or nothing was found out.

/// Of the processor, in seconds.
pub const PROCESSOR_SECONDS: u64 = 2;
/// Of memory: the program itself takes a few MB.
pub const MEMORY_MB: u64 = 128;

/// The first octet. It changes with all that follows.
const VERSION: u8 = 1;
/// How long what stands before the schema is.
pub const PREFIX: usize = 17;

/// What stands before the schema: the version, and how many octets schema and answer have, each as eight octets, the
/// lowest first.
pub fn prefix(schema: &[u8], answer: &[u8]) -> [u8; PREFIX] {
    let mut prefix = [VERSION; PREFIX];
    prefix[1..9].copy_from_slice(&(schema.len() as u64).to_le_bytes());
    prefix[9..].copy_from_slice(&(answer.len() as u64).to_le_bytes());
    prefix
}

/// The schema and the answer of an input; None where it is of another version, or not all of it has come.
pub fn read(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = input.split_at_checked(PREFIX)?;
    let length = u64::from_le_bytes(first[1..9].try_into().ok()?);
    let (schema, answer) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    (first == prefix(schema, answer)).then_some((schema, answer))
}

/// The first octet of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The schema can be used; the answer, where there is one, matches it.
    Valid = b'V',
    /// The schema cannot be used; what is wrong with it follows.
    BadSchema = b'S',
    /// The answer does not match; what is wrong with it follows.
    Mismatch = b'M',
    /// It took too much of the processor's time.
    OutOfTime = b'T',
    /// It took too much memory.
    OutOfMemory = b'A',
    /// It took too much of the stack, which schemas that lead to one another do.
    TooDeep = b'D',
}

impl Kind {
    /// The kind that this octet stands for.
    pub fn of(octet: u8) -> Option<Kind> {
        use Kind::{BadSchema, Mismatch, OutOfMemory, OutOfTime, TooDeep, Valid};
        [Valid, BadSchema, Mismatch, OutOfTime, OutOfMemory, TooDeep]
            .into_iter()
            .find(|kind| *kind as u8 == octet)
    }
}
