//! hiems-validator: compares JSON with a JSON Schema in a process of its own, which may use little time and memory, and
//! can be ended at any moment. A session of PostgreSQL starts it (`src/validator.rs` of hiems). What goes in and out of
//! it stands in `format.rs`.

#[allow(dead_code)] // hiems uses the rest of it
mod format;
mod limits;
mod schema;

use std::io::{Read, Write};

fn main() {
    limits::set();
    let mut input = Vec::new();
    let Ok(_) = std::io::stdin().lock().read_to_end(&mut input) else { limits::end() };
    let Some((schema, answer)) = format::read(&input) else { limits::end() };
    let (kind, text) = schema::judge(schema, Some(answer).filter(|answer| !answer.is_empty()));
    let mut output = vec![kind as u8];
    output.extend(text.bytes());
    let Ok(()) = std::io::stdout().write_all(&output) else { limits::end() };
}
