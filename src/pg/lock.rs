//! Heavyweight locks of hiems's own, which no user can take.

use std::ffi::CStr;

use pgrx::pg_sys;
use sha2::{Digest, Sha256};

/// An advisory lock class apart from the two that SQL's pg_advisory_lock uses (1 and 2).
const LOCK_CLASS: u16 = 0x6869;

/// Held until drop, or until the transaction ends. The wait for it can be cancelled.
pub struct StartLock(pg_sys::LOCKTAG);

impl StartLock {
    /// Waits for the lock that lets one backend of this database at a time start the gateway.
    pub fn acquire() -> StartLock {
        // SAFETY: plain data; LockAcquire waits like any heavyweight lock.
        unsafe {
            let tag = pg_sys::LOCKTAG {
                locktag_field1: pg_sys::MyDatabaseId.to_u32(),
                locktag_field2: 0,
                locktag_field3: 0,
                locktag_field4: LOCK_CLASS,
                locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
                locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
            };
            pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, false, false);
            StartLock(tag)
        }
    }
}

impl Drop for StartLock {
    fn drop(&mut self) {
        // SAFETY: taken in acquire; an ERROR on the way out has not released it yet, since the
        // transaction's abort comes after the unwinding.
        unsafe {
            pg_sys::LockRelease(&self.0, pg_sys::ExclusiveLock as i32, false);
        }
    }
}

/// Waits (which can be cancelled) for the lock of a text that transactions agree on; held until the end of
/// this one.
pub fn lock_text(text: &str) {
    // SAFETY: plain data; LockAcquire waits like any heavyweight lock.
    unsafe {
        pg_sys::LockAcquire(&tag_of(text), pg_sys::ExclusiveLock as i32, false, false);
    }
}

/// How many texts one transaction may lock, so that the others have some: a quarter of what PostgreSQL has room for at
/// the least, `max_locks_per_transaction * max_connections`.
pub fn most_texts() -> usize {
    // SAFETY: read settings that stand since the server's start.
    let all = unsafe { i64::from(pg_sys::max_locks_per_xact) * i64::from(pg_sys::MaxConnections) };
    usize::try_from(all / 4).unwrap_or_default()
}

/// As [`lock_text`], without waiting: false where another transaction holds it.
pub fn try_lock_text(text: &str) -> bool {
    // SAFETY: plain data; asks without waiting.
    unsafe {
        let taken = pg_sys::LockAcquire(&tag_of(text), pg_sys::ExclusiveLock as i32, false, true);
        taken != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
    }
}

/// Two texts of the same hash share a lock: one waits for the other, and that is all. Everybody sees the hash in pg_locks:
/// a secret of this server's is in it, or texts could be guessed.
fn tag_of(text: &str) -> pg_sys::LOCKTAG {
    let hash = Sha256::new().chain_update(secret()).chain_update(text).finalize();
    let word = |at: usize| u32::from_be_bytes([hash[at], hash[at + 1], hash[at + 2], hash[at + 3]]);
    // SAFETY: reads state of this process.
    let database = unsafe { pg_sys::MyDatabaseId.to_u32() };
    pg_sys::LOCKTAG {
        locktag_field1: database,
        // 0 is the start lock's.
        locktag_field2: word(0) | 1,
        locktag_field3: word(4),
        locktag_field4: LOCK_CLASS,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

/// Random bytes that initdb made, the same in all processes and on standbys, which no SQL function shows; PostgreSQL has
/// them for logins of roles that do not exist.
fn secret() -> [u8; 32] {
    // SAFETY: 32 octets in shared memory (MOCK_AUTH_NONCE_LEN), which nobody changes.
    unsafe { *pg_sys::GetMockAuthenticationNonce().cast::<[u8; 32]>() }
}

/// True if somebody waits to drop, rename or copy this database: it holds the lock that conflicts.
/// To be asked inside a transaction.
pub fn database_is_wanted() -> bool {
    // SAFETY: plain data; asks without waiting and gives the lock back at once.
    unsafe {
        let tag = pg_sys::LOCKTAG {
            locktag_field1: 0,
            locktag_field2: pg_sys::DatabaseRelationId.to_u32(),
            locktag_field3: pg_sys::MyDatabaseId.to_u32(),
            locktag_field4: 0,
            locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
            locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
        };
        let mode = pg_sys::RowExclusiveLock as i32;
        let taken = pg_sys::LockAcquire(&tag, mode, false, true)
            != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL;
        if taken {
            pg_sys::LockRelease(&tag, mode, false);
        }
        !taken
    }
}

/// Takes the lock that writing to a table needs, until the end of this transaction; false where that
/// would have to wait for somebody's LOCK TABLE, VACUUM FULL or REINDEX, or where there is no such table.
pub fn try_lock_for_writing(schema: &CStr, table: &CStr) -> bool {
    try_lock(schema, table, pg_sys::RowExclusiveLock)
}

/// As [`try_lock_for_writing`], for reading.
pub fn try_lock_for_reading(schema: &CStr, table: &CStr) -> bool {
    try_lock(schema, table, pg_sys::AccessShareLock)
}

/// As [`try_lock_for_writing`], for changing the table itself: nobody else may use it meanwhile.
pub fn try_lock_for_changing(schema: &CStr, table: &CStr) -> bool {
    try_lock(schema, table, pg_sys::AccessExclusiveLock)
}

fn try_lock(schema: &CStr, table: &CStr, mode: u32) -> bool {
    // SAFETY: looks in the catalog, and asks without waiting.
    unsafe {
        let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        let table = pg_sys::get_relname_relid(table.as_ptr(), schema);
        table != pg_sys::InvalidOid && pg_sys::ConditionalLockRelationOid(table, mode as i32)
    }
}
