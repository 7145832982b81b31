//! Whether hiems is well: one finding per check, and what to do about it. Reads only.

use pgrx::spi::SpiResult;

use crate::error::Error;
use crate::gateway::{self, protocol::Status};
use crate::ledger;
use crate::pg::{session, spi, xact};

/// What a check has found.
pub struct Finding {
    pub name: &'static str,
    /// 'ok', 'warn' or 'fail'.
    pub status: &'static str,
    pub detail: String,
    /// What to do; None where there is nothing to do.
    pub hint: Option<String>,
}

pub fn ok(name: &'static str, detail: impl Into<String>) -> Finding {
    Finding { name, status: "ok", detail: detail.into(), hint: None }
}

pub fn warn(name: &'static str, detail: impl Into<String>, hint: &str) -> Finding {
    Finding { name, status: "warn", detail: detail.into(), hint: Some(hint.to_owned()) }
}

pub fn fail(name: &'static str, detail: impl Into<String>, hint: &str) -> Finding {
    Finding { status: "fail", ..warn(name, detail, hint) }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Every check, in a fixed order.
pub fn check() -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let status = if xact::is_in_recovery() {
        findings.push(ok("gateway", "this is a standby: calls are refused here"));
        None
    } else {
        match gateway::status(crate::keys::read_all()?) {
            Ok(status) => {
                findings.push(gateway_at_work(&status));
                Some(status)
            }
            Err(error) => {
                let hint = "The error's own words: SELECT hiems.complete('x'); the server log.";
                findings.push(fail("gateway", error.to_string(), hint));
                None
            }
        }
    };
    if let Some(status) = &status {
        findings.push(settings(status));
        findings.push(openrouter(status));
    }
    findings.push(versions(status.as_ref())?);
    findings.push(keys()?);
    if let Some(status) = &status {
        findings.push(master_key(status));
    }
    findings.push(unsettled()?);
    findings.push(pending()?);
    findings.push(queue(status.as_ref())?);
    findings.push(clock(status.as_ref())?);
    findings.push(notify_queue()?);
    findings.push(guards()?);
    findings.push(preload());
    Ok(findings)
}

fn gateway_at_work(status: &Status) -> Finding {
    let Status { pid, in_flight, max_in_flight, unwritten, set_aside, .. } = status;
    let detail = format!("pid {pid}, {in_flight} calls in flight of {max_in_flight}");
    if *unwritten > 0 {
        let mut detail = format!("{detail}; {unwritten} calls are not in the journal yet");
        if !set_aside.is_empty() {
            detail.push_str(&format!("; it cannot be written of call {}", set_aside.join(", ")));
        }
        return warn("gateway", detail, "Look for locks on hiems_private.calls, and in the log.");
    }
    if in_flight * 10 > max_in_flight * 9 {
        return warn("gateway", detail, "Raise hiems.max_in_flight, or call less at once.");
    }
    ok("gateway", detail)
}

fn settings(status: &Status) -> Finding {
    match &status.settings_problem {
        None => ok("settings", "the gateway can work with them"),
        Some(problem) => fail(
            "settings",
            problem,
            "Set it right, and reload; if ALTER DATABASE set it, end the gateway too.",
        ),
    }
}

fn openrouter(status: &Status) -> Finding {
    match &status.last_contact {
        None => ok("openrouter", "not called by this gateway yet"),
        Some(Ok(())) => ok("openrouter", "reached by the last call"),
        Some(Err(what)) => {
            let hint = "Look at hiems.base_url, hiems.ca_file, the name service and the firewall.";
            fail("openrouter", format!("not reached by the last call: {what}"), hint)
        }
    }
}

const INSTALLED_VERSION: &str = "SELECT extversion FROM pg_extension WHERE extname = 'hiems'";

fn versions(status: Option<&Status>) -> Result<Finding, Error> {
    let installed = one::<String>(INSTALLED_VERSION)?.unwrap_or_default();
    let detail = format!("library {VERSION}, extension {installed}");
    if installed != VERSION {
        return Ok(warn("versions", detail, "ALTER EXTENSION hiems UPDATE."));
    }
    Ok(match status {
        Some(status) if status.version != VERSION => {
            let detail = format!("{detail}, gateway {}", status.version);
            warn("versions", detail, "End the gateway: the next call starts one of this version.")
        }
        _ => ok("versions", detail),
    })
}

const KEYS: &str = "
    SELECT nullif(count(*), 0)::text || ' stored: ' || string_agg(name, ', ' ORDER BY name)
               || coalesce('; not in this database, but in the one with the OID ' || min(database_oid)
                               FILTER (WHERE is_foreign)
                           || ': ' || string_agg(name, ', ' ORDER BY name) FILTER (WHERE is_foreign), ''),
           coalesce(bool_or(is_foreign), false)
    FROM (SELECT k.name, k.database_oid, k.database_oid <> d.oid::bigint AS is_foreign
          FROM hiems_private.api_keys AS k, pg_database AS d
          WHERE k.kind = 'inference' AND d.datname = current_database()) AS k";

fn keys() -> Result<Finding, Error> {
    Ok(match text_and_flag(KEYS)? {
        Some((names, false)) => ok("api_keys", names),
        Some((names, true)) => fail(
            "api_keys",
            names,
            "This database is a copy, or was restored from a dump. A superuser who means it to spend by those \
             keys: SELECT hiems.adopt_api_keys(), and ALTER DATABASE ... SET what was set for the other. Or \
             hiems.set_api_key().",
        ),
        None => fail("api_keys", "no key is stored", "Store one with hiems.set_api_key()."),
    })
}

fn master_key(status: &Status) -> Finding {
    let place = if status.master_key_is_default {
        "in the data directory"
    } else {
        "where hiems.master_key_file says"
    };
    match &status.master_key_problem {
        Some(problem) => fail(
            "master_key",
            problem,
            "Put the right master key back; or store the keys again with hiems.set_api_key().",
        ),
        None if status.master_key_is_default => warn(
            "master_key",
            format!("{place}: every base backup holds lock and key"),
            "Move it out, and name it in hiems.master_key_file.",
        ),
        None => ok("master_key", place),
    }
}

// A call in flight is never older than hiems.request_timeout, which is an hour at most.
const UNSETTLED: &str = "
    SELECT count(*) || ' in flight, the oldest for ' || max(date_trunc('second', age)),
           max(age) > interval '65 minutes'
    FROM (SELECT clock_timestamp() - created_at AS age
          FROM hiems_private.calls WHERE state = 'sent') AS unsettled
    HAVING count(*) > 0";

fn unsettled() -> Result<Finding, Error> {
    Ok(match text_and_flag(UNSETTLED)? {
        None => ok("unsettled_calls", "none"),
        Some((detail, false)) => ok("unsettled_calls", detail),
        Some((detail, true)) => warn(
            "unsettled_calls",
            detail,
            "No call takes that long: the next start of the gateway books it as unknown.",
        ),
    })
}

const PENDING: &str = "
    SELECT count(*) || ' calls, '
               || coalesce(trim_scale(sum((entry ->> 'cost_usd')::numeric))::text, 'unknown') || ' USD'
               || coalesce(', ' || nullif(count(*) FILTER (WHERE entry ->> 'cost_usd' IS NULL), 0)
                           || ' of unknown cost', '')
               || ', the oldest since ' || max(date_trunc('second', clock_timestamp() - settled_at)),
           max(clock_timestamp() - settled_at) > interval '1 hour'
    FROM hiems_private.calls AS c
    WHERE state <> 'sent' AND NOT EXISTS (SELECT FROM hiems.ai_usage_logs AS l WHERE l.id = c.id)
    HAVING count(*) > 0";

fn pending() -> Result<Finding, Error> {
    Ok(match text_and_flag(PENDING)? {
        None => ok("pending_spend", "none: every settled call is in the ledger"),
        Some((detail, false)) => ok("pending_spend", detail),
        Some((detail, true)) => warn(
            "pending_spend",
            detail,
            "Callers hold their transactions open: see pg_stat_activity and pg_prepared_xacts; or the \
             ledger is locked: see pg_locks; or OpenRouter does not say what they cost: hiems.settle_now().",
        ),
    })
}

// What is ready waits for a call of its model to end, or for a model's pause. What cannot be journalled is named, the
// oldest of it.
const QUEUE: &str = "
    SELECT count(*) FILTER (WHERE state = 'queued') || ' queued, '
               || count(*) FILTER (WHERE state = 'queued' AND run_at IS NULL) || ' of them ready'
               || coalesce(' (the oldest for ' || max(date_trunc('second', clock_timestamp() - enqueued_at))
                               FILTER (WHERE state = 'queued' AND run_at IS NULL) || ')', '')
               || coalesce(', ' || nullif(count(*) FILTER (WHERE failure IS NOT NULL AND state = 'queued'), 0)
                           || ' after an attempt that failed', '')
               || ', ' || count(*) FILTER (WHERE state = 'paused') || ' paused, '
               || count(*) FILTER (WHERE state = 'failed') || ' given up'
               || coalesce('; ' || count(*) FILTER (WHERE is_set_aside) || ' set aside, of them call '
                           || min(id::text || ': ' || (failure ->> 'detail')) FILTER (WHERE is_set_aside), ''),
           coalesce(bool_or(state = 'paused'), false), coalesce(bool_or(is_set_aside), false)
    FROM (SELECT *, state = 'queued' AND failure ->> 'kind' = 'Internal' AS is_set_aside
          FROM hiems_private.queue) AS q
    HAVING count(*) > 0";

fn queue(status: Option<&Status>) -> Result<Finding, Error> {
    const SET_ASIDE: &str = "The other calls are made; what is set aside is tried again now and then. Mend what \
                             keeps it from being journalled, or hiems.cancel_prompt().";
    const PAUSED: &str = "Paused calls may have been made on another server, or by the database that this one \
                          is a copy of: hiems.resume_prompts(), or hiems.cancel_prompt().";
    if let Some(problem) = status.and_then(|status| status.queue_problem.as_ref()) {
        let detail = format!("no call can be taken out: {problem}");
        return Ok(fail(
            "queue",
            detail,
            "Look for what keeps hiems_private.queue from being written.",
        ));
    }
    let found = spi::read(QUEUE, &[], |row| {
        Ok((row.get::<String>(1)?, row.get::<bool>(2)?, row.get::<bool>(3)?))
    })?;
    Ok(match found.into_iter().next() {
        Some((Some(detail), _, Some(true))) => warn("queue", detail, SET_ASIDE),
        Some((Some(detail), Some(true), _)) => warn("queue", detail, PAUSED),
        Some((Some(detail), ..)) => ok("queue", detail),
        _ => ok("queue", "empty"),
    })
}

const FUTURE_ROWS: &str = "
    SELECT max(created_at)::text FROM hiems.ai_usage_logs
    WHERE created_at > clock_timestamp() + interval '1 minute'";

/// How far this clock and OpenRouter's may be apart, in seconds.
const CLOCK_TOLERANCE: i64 = 5;

fn clock(status: Option<&Status>) -> Result<Finding, Error> {
    const HINT: &str = "Set the server's clock: days, rates and budgets go by it.";
    if let Some(newest) = one::<String>(FUTURE_ROWS)? {
        let detail = format!("the ledger has calls of {newest}: the clock has gone back");
        return Ok(warn("clock", detail, HINT));
    }
    Ok(match status.and_then(|status| status.clock_skew_seconds) {
        Some(skew) if skew.abs() > CLOCK_TOLERANCE => {
            warn("clock", format!("{skew} s from OpenRouter's at the last call"), HINT)
        }
        Some(skew) => ok("clock", format!("{skew} s from OpenRouter's at the last call")),
        None => ok("clock", "not compared with OpenRouter's yet"),
    })
}

const NOTIFY_QUEUE: &str = "SELECT pg_notification_queue_usage()";

fn notify_queue() -> Result<Finding, Error> {
    const HINT: &str =
        "A listener's session has a transaction open: see pg_stat_activity, and end it.";
    let full = one::<f64>(NOTIFY_QUEUE)?.unwrap_or_default();
    let detail = format!("{:.0} % full", full * 100.0);
    Ok(match full {
        full if full > 0.9 => {
            fail("notify_queue", format!("{detail}: hiems is silent until it is emptier"), HINT)
        }
        full if full > 0.5 => warn("notify_queue", detail, HINT),
        _ => ok("notify_queue", detail),
    })
}

const DISABLED_GUARDS: &str = "
    SELECT string_agg(evtname, ', ') FROM pg_event_trigger
    WHERE evtname LIKE 'hiems\\_guard\\_%' AND evtenabled NOT IN ('O', 'A')";

fn guards() -> Result<Finding, Error> {
    if let Some(trigger) = ledger::foreign_trigger() {
        let detail = format!("the trigger \"{trigger}\" on the ledger is not hiems's own");
        return Ok(fail("guards", detail, "Drop it: until then no call is made or booked."));
    }
    Ok(match one::<String>(DISABLED_GUARDS)? {
        Some(names) => {
            warn("guards", format!("{names}: disabled"), "ALTER EVENT TRIGGER ... ENABLE.")
        }
        None => ok("guards", "triggers of others and DROP EXTENSION are refused"),
    })
}

fn preload() -> Finding {
    let libraries = session::setting(c"shared_preload_libraries").unwrap_or_default();
    if libraries.split(',').any(|name| name.trim().trim_matches('"') == "hiems") {
        return ok("preload", "hiems is in shared_preload_libraries");
    }
    ok("preload", "not preloaded, which is fine: say LOAD 'hiems' before you set its settings")
}

fn one<T: pgrx::FromDatum + pgrx::IntoDatum>(sql: &'static str) -> SpiResult<Option<T>> {
    let rows = spi::read(sql, &[], |row| row.get::<T>(1))?;
    Ok(rows.into_iter().flatten().next())
}

fn text_and_flag(sql: &'static str) -> SpiResult<Option<(String, bool)>> {
    let rows = spi::read(sql, &[], |row| Ok((row.get::<String>(1)?, row.get::<bool>(2)?)))?;
    Ok(rows.into_iter().find_map(|(text, flag)| text.zip(flag)))
}
