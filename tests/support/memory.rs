//! Looking for bytes in the memory of a running process.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// What is looked at in one go.
const CHUNK: usize = 1 << 20;

/// True if `bytes` stand anywhere in the memory of process `pid`, shared memory included; None if it
/// has ended. Panics where it may not be looked into.
pub fn memory_holds(pid: i32, bytes: &[u8]) -> Option<bool> {
    match search(pid, bytes) {
        Ok(found) => Some(found),
        Err(error) if error.kind() != ErrorKind::PermissionDenied && has_ended(pid) => None,
        Err(error) => panic!(
            "the memory of process {pid} cannot be read: {error}. Run the tests as root, or set \
             kernel.yama.ptrace_scope to 0."
        ),
    }
}

/// True of a process that is gone, or on its way out: its memory goes before its number does.
fn has_ended(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/maps")).map_or(true, |maps| maps.is_empty())
}

fn search(pid: i32, bytes: &[u8]) -> io::Result<bool> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut looked_at = 0_usize;
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else { continue };
        if !rights.starts_with('r') || line.ends_with("[vvar]") || line.ends_with("[vsyscall]") {
            continue;
        }
        let bound = |text: &str| u64::from_str_radix(text, 16).map_err(io::Error::other);
        let (from, to) = range.split_once('-').ok_or_else(|| io::Error::other("no range"))?;
        let (mut from, to) = (bound(from)?, bound(to)?);
        let mut chunk = vec![0; CHUNK + bytes.len()];
        while from < to {
            let length = usize::try_from(to - from).unwrap_or(usize::MAX).min(chunk.len());
            // A region beyond the end of its file, or gone meanwhile, holds nothing.
            let Ok(()) = memory.read_exact_at(&mut chunk[..length], from) else { break };
            looked_at += length;
            if memchr::memmem::find(&chunk[..length], bytes).is_some() {
                return Ok(true);
            }
            // What lies across two chunks stands whole in the next one.
            from += (length.saturating_sub(bytes.len()).max(1)) as u64;
            if length < chunk.len() {
                break;
            }
        }
    }
    if looked_at < CHUNK {
        return Err(io::Error::other("next to nothing could be read"));
    }
    Ok(false)
}
