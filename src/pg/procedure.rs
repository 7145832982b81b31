//! Procedures, which may end the transaction that they are called in: pgrx knows functions only.

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

use super::arguments::Jsonb;

/// How a procedure was called: no argument of SQL's.
pub struct Calling {
    is_atomic: bool,
}

impl Calling {
    /// True where the procedure may end the caller's transaction: CALL as a statement of its own, or in a
    /// procedure or DO block that is one; not in a transaction block, a function or an EXCEPTION block.
    pub fn may_commit(&self) -> bool {
        // SAFETY: reads state of this process.
        !self.is_atomic && !unsafe { pg_sys::IsSubTransaction() }
    }
}

// SAFETY: it is read from the call itself, and stands for no argument.
unsafe impl<'fcx> ArgAbi<'fcx> for Calling {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: as pgrx gives it: the call that is under way.
        let call: pg_sys::FunctionCallInfo = unsafe { ArgAbi::unbox_arg_unchecked(arg) };
        // SAFETY: CALL, and only it, leaves a CallContext there.
        let is_atomic = unsafe {
            let context = (*call).context;
            context.is_null()
                || (*context).type_ != pg_sys::NodeTag::T_CallContext
                || (*context.cast::<pg_sys::CallContext>()).atomic
        };
        Calling { is_atomic }
    }

    fn is_virtual_arg() -> bool {
        true
    }
}

// SAFETY: it does not appear in SQL.
unsafe impl SqlTranslatable for Calling {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Calling);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::Skip);
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::Skip));
}

/// Commits the caller's transaction; where that fails the error is raised. From here on this process is in a
/// new one, without a snapshot and without an id. Only where [`Calling::may_commit`].
pub fn commit() {
    // SAFETY: SPI's stack is as it was before, also where the commit is an ERROR; what is in memory belongs to
    // the portal, which a CALL outside a transaction block keeps.
    unsafe {
        pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32);
        pg_sys::SPI_commit();
        pg_sys::SPI_finish();
        // A look into the catalog would hold back VACUUM until the next statement.
        pg_sys::InvalidateCatalogSnapshotConditionally();
    }
}

/// The values of a procedure's INOUT parameters, of which there is one.
pub struct Inout(pub Jsonb);

// SAFETY: as the procedure in `sql/` says it.
unsafe impl SqlTranslatable for Inout {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Inout);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("record"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("record")));
}

// SAFETY: a procedure with such parameters returns a record of them.
unsafe impl BoxRet for Inout {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        let jsonb = pgrx::IntoDatum::into_datum(self.0);
        // SAFETY: a row of one column, of the type that the datum has, in the current memory context.
        unsafe {
            let columns = pg_sys::CreateTemplateTupleDesc(1);
            pg_sys::TupleDescInitEntry(columns, 1, c"answer".as_ptr(), pg_sys::JSONBOID, -1, 0);
            pg_sys::BlessTupleDesc(columns);
            let mut is_null = [jsonb.is_none()];
            let mut values = [jsonb.unwrap_or(pg_sys::Datum::null())];
            let row = pg_sys::heap_form_tuple(columns, values.as_mut_ptr(), is_null.as_mut_ptr());
            fcinfo.return_raw_datum(pg_sys::HeapTupleHeaderGetDatum((*row).t_data))
        }
    }
}
