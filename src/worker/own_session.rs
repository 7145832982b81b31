//! The gateway's session is its own: what ALTER DATABASE, ALTER ROLE and the configuration files say of sessions reaches
//! background workers, too.

use pgrx::spi::SpiResult;
use pgrx::warning;

use crate::pg::{session, spi, xact};

/// What the gateway goes by, whoever sets anything else: none of it may weaken the journal, make it wait, change what
/// its statements mean, or have them print what they hold. [`session::SILENT`] comes on top.
const PINNED: &[(&std::ffi::CStr, &std::ffi::CStr)] = &[
    (c"role", c"none"),
    // A dead synchronous standby must not hold up calls.
    (c"synchronous_commit", c"local"),
    (c"default_transaction_read_only", c"off"),
    (c"default_transaction_deferrable", c"off"),
    (c"default_transaction_isolation", c"read committed"),
    (c"statement_timeout", c"0"),
    (c"idle_in_transaction_session_timeout", c"0"),
    (c"idle_session_timeout", c"0"),
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    (c"transaction_timeout", c"0"),
    // Somebody's LOCK TABLE is waited for in memory, not in the lock queue.
    (c"lock_timeout", c"200ms"),
    (c"session_replication_role", c"origin"),
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"row_security", c"off"),
    (c"exit_on_error", c"off"),
    // How values are read and written.
    (c"DateStyle", c"ISO, YMD"),
    (c"IntervalStyle", c"postgres"),
    (c"extra_float_digits", c"1"),
    (c"bytea_output", c"hex"),
    (c"lc_monetary", c"C"),
    (c"lc_numeric", c"C"),
    (c"lc_time", c"C"),
    (c"array_nulls", c"on"),
    (c"standard_conforming_strings", c"on"),
    (c"transform_null_equals", c"off"),
    (c"quote_all_identifiers", c"off"),
    // What is logged of statements, and of how long they take: one of the gateway's holds other people's calls.
    (c"log_statement", c"none"),
    (c"log_duration", c"off"),
    (c"log_min_duration_statement", c"-1"),
    (c"log_min_duration_sample", c"-1"),
    (c"log_transaction_sample_rate", c"0"),
    (c"log_parameter_max_length", c"0"),
    (c"log_parameter_max_length_on_error", c"0"),
    (c"log_statement_stats", c"off"),
    (c"log_parser_stats", c"off"),
    (c"log_planner_stats", c"off"),
    (c"log_executor_stats", c"off"),
    (c"client_min_messages", c"notice"),
    // A plan outlives what the journal was like when it was made: a few pages, which reading through is
    // the best way to find anything in, and a hundred thousand dead rows a minute later.
    (c"enable_seqscan", c"off"),
    (c"enable_hashjoin", c"off"),
    (c"enable_mergejoin", c"off"),
    // Nothing here runs for long, whatever it is thought to cost.
    (c"jit", c"off"),
    (c"max_parallel_workers_per_gather", c"0"),
    #[cfg(feature = "pg15")]
    (c"force_parallel_mode", c"off"),
    #[cfg(not(feature = "pg15"))]
    (c"debug_parallel_query", c"off"),
];

// What anybody may set for a session, and somebody has set for the sessions of this database or of this role. hiems's own
// settings count; client_encoding says nothing where there is no client.
const SET_BY_OTHERS: &str = "
    SELECT name, boot_val FROM pg_catalog.pg_settings
    WHERE context = 'user' AND boot_val IS NOT NULL
      AND source IN ('global', 'database', 'user', 'database user')
      AND name NOT LIKE 'hiems.%' AND name NOT IN ('client_encoding', 'TimeZone')";

/// Pins [`PINNED`], and takes PostgreSQL's own default for whatever else a database's owner may set.
pub fn pin() {
    for (name, value) in session::SILENT.iter().filter(|(name, _)| session::is_known(name)) {
        session::fix(name, value);
    }
    for (name, value) in PINNED {
        session::fix(name, value);
    }
    // The zone of the days in reports is still the database's: hiems.reporting_time_zone falls back to it.
    session::set(c"TimeZone", c"UTC");
    let set = xact::transaction(|| -> SpiResult<Vec<(String, String)>> {
        let found = spi::read(SET_BY_OTHERS, &[], |row| {
            Ok(row.get::<String>(1)?.zip(row.get::<String>(2)?))
        })?;
        Ok(found.into_iter().flatten().collect())
    });
    let set = set.unwrap_or_else(|aborted| {
        warning!("the hiems gateway cannot read its session's settings: {}", aborted.message);
        Vec::new()
    });
    for (name, value) in set {
        let fixed = xact::transaction(|| -> SpiResult<()> {
            session::fix_by_name(&name, &value);
            Ok(())
        });
        if let Err(aborted) = fixed {
            warning!("the hiems gateway goes by the database's {name}: {}", aborted.message);
        }
    }
}
