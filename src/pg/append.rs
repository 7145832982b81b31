//! Rows into a table without a statement: by the functions that the executor itself, and logical replication,
//! put a row there with.
//!
//! What a statement does anew for each row that it inserts (to start the executor, to read the constraints, to call
//! the triggers) costs more than the row. Here the caller sees to constraints and triggers, and says which there
//! are: a table that has any others is left to a statement.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString};

use pgrx::{IntoDatum, PgBox, PgRelation, PgTupleDesc, pg_sys};
use serde_json::value::RawValue;

use super::memory;

/// A table, and what is on it that the caller does itself.
pub struct Table<'a> {
    pub schema: &'a CStr,
    pub name: &'a CStr,
    /// The names of its CHECK constraints, in the order of the alphabet: the rows fulfil them.
    pub checks: &'a [&'a CStr],
    /// The names of its triggers, in the order of the alphabet, each with its `tgenabled`: whatever those of INSERT
    /// would do is done by the caller.
    pub triggers: &'a [(&'a CStr, u8)],
    /// Those of its indexes that may be partial: a condition is looked at with the rights of whoever calls.
    pub partial_indexes: &'a [&'a CStr],
}

/// A row by the names of its columns, as `json_populate_record` takes it: what is left out is NULL.
pub type Row<'a> = HashMap<&'a str, &'a RawValue>;

/// Appends rows; the lock that writing needs is held. False where nothing was done, since the table is not as
/// expected, or a row is not: a statement can do it, or says what is wrong. An ERROR unwinds: one that is not unique.
pub fn append(table: &Table, rows: &[Row]) -> bool {
    // SAFETY: reads state of this process.
    let is_usual = unsafe {
        pg_sys::GetDatabaseEncoding() == pg_sys::pg_enc::PG_UTF8 as i32
            && pg_sys::SessionReplicationRole == pg_sys::SESSION_REPLICATION_ROLE_ORIGIN as i32
    };
    let relation = is_usual.then(|| Relation::open(table)).flatten();
    relation.filter(|relation| relation.is(table)).is_some_and(|relation| {
        // SAFETY: it is open, and as expected.
        memory::given_back(|| unsafe { relation.append(table, rows) })
    })
}

/// A relation that is open.
struct Relation(PgRelation);

impl Relation {
    fn open(table: &Table) -> Option<Relation> {
        // SAFETY: looks in the catalog; what is locked is there. It is closed when it is dropped.
        unsafe {
            let schema = pg_sys::get_namespace_oid(table.schema.as_ptr(), true);
            let table = pg_sys::get_relname_relid(table.name.as_ptr(), schema);
            let no_lock = pg_sys::NoLock as i32;
            (table != pg_sys::InvalidOid).then(|| Relation(PgRelation::with_lock(table, no_lock)))
        }
    }

    /// True if nothing would have to be done for a row but what the caller does, and its indexes.
    fn is(&self, table: &Table) -> bool {
        // SAFETY: the relation is open, and what it points to lives as long.
        unsafe {
            let class = &*self.0.rd_rel;
            let is_plain = class.relkind as u8 == pg_sys::RELKIND_RELATION
                && !class.relispartition
                && !class.relhasrules;
            is_plain && self.has_checks(table.checks) && self.has_triggers(table.triggers)
        }
    }

    /// # Safety
    /// The relation is open.
    unsafe fn has_checks(&self, expected: &[&CStr]) -> bool {
        // SAFETY: the constraints live as long as the relation is open; PostgreSQL sorts them by name.
        unsafe {
            let constraints = (*self.0.rd_att).constr;
            if constraints.is_null() || (*constraints).num_check == 0 {
                return expected.is_empty();
            }
            let count = usize::from((*constraints).num_check);
            let checks = std::slice::from_raw_parts((*constraints).check, count);
            checks.iter().map(|check| CStr::from_ptr(check.ccname)).eq(expected.iter().copied())
        }
    }

    /// # Safety
    /// The relation is open.
    unsafe fn has_triggers(&self, expected: &[(&CStr, u8)]) -> bool {
        // SAFETY: the triggers live as long as the relation is open.
        unsafe {
            let described = self.0.trigdesc;
            if described.is_null() {
                return expected.is_empty();
            }
            let count = usize::try_from((*described).numtriggers).unwrap_or_default();
            let triggers = std::slice::from_raw_parts((*described).triggers, count);
            triggers.len() == expected.len()
                && triggers.iter().zip(expected).all(|(trigger, (name, enabled))| {
                    CStr::from_ptr(trigger.tgname) == *name && trigger.tgenabled as u8 == *enabled
                })
        }
    }

    /// False where a value is missing, or a column is none that PostgreSQL itself knows how to read.
    ///
    /// # Safety
    /// The relation is open and locked, and [`Relation::is`] as expected; what is allocated is given back.
    unsafe fn append(&self, table: &Table, rows: &[Row]) -> bool {
        // SAFETY: as the executor calls these functions, on objects of its making.
        unsafe {
            let relation = self.0.as_ptr();
            let columns = self.0.tuple_desc();
            let tuples: Option<Vec<_>> = rows.iter().map(|row| values(&columns, row)).collect();
            let Some(tuples) = tuples else { return false };
            let state = pg_sys::CreateExecutorState();
            let target =
                PgBox::<pg_sys::ResultRelInfo>::alloc_node(pg_sys::NodeTag::T_ResultRelInfo);
            pg_sys::InitResultRelInfo(target.as_ptr(), relation, 1, std::ptr::null_mut(), 0);
            pg_sys::ExecOpenIndices(target.as_ptr(), false);
            if !has_plain_indexes(&target, table.partial_indexes) {
                pg_sys::ExecCloseIndices(target.as_ptr());
                pg_sys::FreeExecutorState(state);
                return false;
            }
            let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
            for tuple in tuples {
                pg_sys::ExecClearTuple(slot);
                for (at, value) in tuple.into_iter().enumerate() {
                    (*slot).tts_isnull.add(at).write(value.is_none());
                    (*slot).tts_values.add(at).write(value.unwrap_or(pg_sys::Datum::from(0)));
                }
                pg_sys::ExecStoreVirtualTuple(slot);
                pg_sys::simple_table_tuple_insert(relation, slot);
                insert_index_tuples(target.as_ptr(), slot, state);
            }
            pg_sys::ExecCloseIndices(target.as_ptr());
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            pg_sys::FreeExecutorState(state);
            // What comes next in this transaction sees them.
            pg_sys::CommandCounterIncrement();
            true
        }
    }
}

/// True if no index calls functions for what is in it, and no other than these is partial.
///
/// # Safety
/// The indexes are open.
unsafe fn has_plain_indexes(target: &pg_sys::ResultRelInfo, partial: &[&CStr]) -> bool {
    let count = usize::try_from(target.ri_NumIndices).unwrap_or_default();
    (0..count).all(|at| {
        // SAFETY: there are as many as it says.
        unsafe {
            let index = &**target.ri_IndexRelationInfo.add(at);
            let class = &*(**target.ri_IndexRelationDescs.add(at)).rd_rel;
            let name = CStr::from_ptr(class.relname.data.as_ptr());
            index.ii_Expressions.is_null()
                && (index.ii_Predicate.is_null() || partial.contains(&name))
        }
    })
}

/// # Safety
/// The row in `slot` has been put into `target`.
unsafe fn insert_index_tuples(
    target: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    state: *mut pg_sys::EState,
) {
    // SAFETY: by the caller; no index is left out, and none is deferred but what checks later.
    unsafe {
        pg_sys::ExecInsertIndexTuples(
            target,
            slot,
            state,
            false,
            false,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            #[cfg(not(feature = "pg15"))]
            false,
        );
    }
}

/// The values of a row, column by column.
fn values(columns: &PgTupleDesc, row: &Row) -> Option<Vec<Option<pg_sys::Datum>>> {
    let value = |column: &pg_sys::FormData_pg_attribute| {
        // SAFETY: a name ends within its array.
        let name = unsafe { CStr::from_ptr(column.attname.data.as_ptr()) };
        let given = row.get(name.to_str().ok()?).filter(|_| !column.attisdropped);
        match given.filter(|given| given.get() != "null") {
            // Computed, or a domain's: the executor's business.
            _ if column.attgenerated != 0 || column.atttypid.to_u32() >= FIRST_FOREIGN_OID => None,
            Some(given) => Some(Some(datum(column, given)?)),
            None => (!column.attnotnull).then_some(None),
        }
    };
    columns.iter().map(value).collect()
}

/// No type that PostgreSQL comes with has one as large.
const FIRST_FOREIGN_OID: u32 = pg_sys::FirstNormalObjectId;

/// A value as the input function of its type reads it.
fn datum(column: &pg_sys::FormData_pg_attribute, given: &RawValue) -> Option<pg_sys::Datum> {
    let given = given.get();
    let kind = column.atttypid;
    let is_json = kind == pg_sys::JSONBOID || kind == pg_sys::JSONOID;
    let text: String = match given.starts_with('"') && !is_json {
        true => serde_json::from_str(given).ok()?,
        false => given.to_owned(),
    };
    if kind == pg_sys::TEXTOID {
        // No type takes this one character.
        return if text.contains('\0') { None } else { text.into_datum() };
    }
    let text = CString::new(text).ok()?;
    INPUTS.with_borrow_mut(|inputs| {
        let Input { function, parameter } =
            inputs.entry(kind.to_u32()).or_insert_with(|| Input::of(kind));
        // SAFETY: an input function reads a C string; what it cannot read raises an ERROR.
        Some(unsafe {
            pg_sys::InputFunctionCall(
                &mut **function,
                text.as_ptr().cast_mut(),
                *parameter,
                column.atttypmod,
            )
        })
    })
}

/// The input function of a type.
struct Input {
    function: Box<pg_sys::FmgrInfo>,
    parameter: pg_sys::Oid,
}

thread_local! {
    /// By the type's OID, of types that PostgreSQL comes with.
    static INPUTS: RefCell<HashMap<u32, Input>> = RefCell::new(HashMap::new());
}

impl Input {
    fn of(kind: pg_sys::Oid) -> Input {
        let mut function = Box::<pg_sys::FmgrInfo>::default();
        let (mut id, mut parameter) = (pg_sys::Oid::INVALID, pg_sys::Oid::INVALID);
        // SAFETY: looks in the system cache; what the function keeps lives as long as the process.
        unsafe {
            pg_sys::getTypeInputInfo(kind, &mut id, &mut parameter);
            pg_sys::fmgr_info_cxt(id, &mut *function, pg_sys::TopMemoryContext);
        }
        Input { function, parameter }
    }
}
