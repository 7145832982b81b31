//! Who may join the topics of hiems: policies on Realtime's table of messages. The only writer of
//! `hiems_private.broadcast`, which says that an admin had them made, and on which table.

use std::time::{Duration, Instant};

use pgrx::spi::SpiResult;

use super::{Step, is_there};
use crate::error::{self, Error};
use crate::pg::xact::Aborted;
use crate::pg::{interrupts, lock, savepoint, spi, wait};

pub(super) const MESSAGES: &str =
    "SELECT FROM pg_class WHERE oid = to_regclass('realtime.messages')";

/// The policies. All but the first restrict: they hold whatever other policies allow.
const ALL: [&str; 4] = ["hiems_usage", "hiems_usage_only", "hiems_closed", "hiems_not_sent"];

// A token's own topic goes by the principal, as the ledger's rows do. Realtime inserts a row of the topic, and
// looks whether who wants to join can see it.
const OWN: &str = "
    extension = 'broadcast'
    AND (topic LIKE 'hiems:user:%' AND 'jwt:' || substr(topic, 12) = (SELECT hiems.current_principal())
         OR topic = 'hiems:usage' AND (SELECT hiems.has_level('reader')))";

// The roles whose policies ask functions of hiems: those that may call them. A policy that calls what a role may
// not would keep that role from every private channel.
const ROLES: &str = "
    SELECT r.rolname::text, quote_ident(r.rolname), format('pg_has_role(%s::oid, ''USAGE'')', r.oid)
    FROM pg_roles AS r
    WHERE NOT r.rolsuper AND NOT r.rolbypassrls
      AND has_function_privilege(r.oid, 'hiems.current_principal()', 'EXECUTE')
      AND has_function_privilege(r.oid, 'hiems.has_level(text)', 'EXECUTE')
      AND EXISTS (SELECT FROM hiems_private.access AS a
                  WHERE a.grantee_kind = 'role' AND a.grantee = r.rolname AND a.role_oid = r.oid)
    ORDER BY 1";

// The roles that they are made for, and how many there are.
const FOUND: &str = "
    SELECT coalesce(array_agg(r.rolname::text ORDER BY r.rolname::text)
                    FILTER (WHERE p.polname = 'hiems_usage'), '{}'),
           count(DISTINCT p.polname)
    FROM pg_policy AS p LEFT JOIN pg_roles AS r ON p.polname = 'hiems_usage' AND r.oid = ANY (p.polroles)
    WHERE p.polrelid = to_regclass('realtime.messages')
      AND p.polrelid = (SELECT b.messages FROM hiems_private.broadcast AS b)
      AND p.polname IN ('hiems_usage', 'hiems_usage_only', 'hiems_closed', 'hiems_not_sent')";

const SWITCH_ON: &str = "
    INSERT INTO hiems_private.broadcast (messages) VALUES ('realtime.messages'::regclass)
    ON CONFLICT (singleton) DO UPDATE SET messages = excluded.messages";
const SWITCH_OFF: &str = "DELETE FROM hiems_private.broadcast WHERE singleton";
const ARE_THERE: &str = "
    SELECT FROM pg_policy WHERE polrelid = to_regclass('realtime.messages')
      AND polname IN ('hiems_usage', 'hiems_usage_only', 'hiems_closed', 'hiems_not_sent')";

/// Roles that policies are made for.
#[derive(Default)]
struct Roles {
    names: Vec<String>,
    quoted: Vec<String>,
    /// SQL that is true for each, and for whoever has its privileges: by OID, so that it is not another role's one
    /// day.
    conditions: Vec<String>,
}

/// The roles that the policies should be made for.
fn roles() -> SpiResult<Roles> {
    let mut roles = Roles::default();
    let rows = spi::read(ROLES, &[], |row| Ok((row.get(1)?, row.get(2)?, row.get(3)?)))?;
    for (name, quoted, condition) in rows {
        roles.names.extend(name);
        roles.quoted.extend(quoted);
        roles.conditions.extend(condition);
    }
    Ok(roles)
}

/// The roles that they are made for, and whether all of them are there.
fn found() -> SpiResult<(Vec<String>, i64)> {
    let found = spi::read(FOUND, &[], |row| {
        Ok((row.get::<Vec<String>>(1)?.unwrap_or_default(), row.get::<i64>(2)?.unwrap_or_default()))
    })?;
    Ok(found.into_iter().next().unwrap_or_default())
}

/// What is not as it should be; None: all is well.
pub(super) fn problem() -> SpiResult<Option<String>> {
    let (wanted, (made_for, count)) = (roles()?.names, found()?);
    Ok(match count {
        0 => {
            Some("the policies on realtime.messages are not there: nothing is broadcast".to_owned())
        }
        // Nobody may join, and nothing is sent.
        2 if wanted.is_empty() => None,
        1..4 => Some("a policy of hiems's on realtime.messages is missing".to_owned()),
        _ if made_for != wanted => Some(format!(
            "the policies on realtime.messages are for {}, the levels of {}",
            made_for.join(", "),
            wanted.join(", ")
        )),
        _ => None,
    })
}

/// Makes them, or makes them anew.
pub(super) fn put() -> Result<Step, Error> {
    const HINT: &str = "Once Realtime has made its tables, call hiems.enable_supabase() again.";
    if !is_there(MESSAGES, &[])? {
        return Ok(Step::skipped("broadcast", "no table realtime.messages", HINT));
    }
    let roles = roles()?;
    let names = roles.names.join(", ");
    if names.is_empty() {
        return Ok(Step::skipped("broadcast", "no role has a level", HINT));
    }
    if problem()?.is_none() {
        return Ok(Step::kept("broadcast", format!("policies for {names}")));
    }
    match savepoint::attempt(|| make(&roles)) {
        Ok(()) => Ok(Step::done("broadcast", format!("policies for {names}"))),
        Err(why) => Ok(Step::skipped("broadcast", why.message, NOT_REALTIME_S)),
    }
}

const NOT_REALTIME_S: &str = "realtime.messages is not as Realtime makes it: mend that, and call hiems.enable_supabase() again.";

fn make(roles: &Roles) -> SpiResult<()> {
    forget()?;
    let to = roles.quoted.join(", ");
    if !roles.names.is_empty() {
        for sql in [
            format!("hiems_usage ON realtime.messages FOR SELECT TO {to} USING ({OWN})"),
            format!(
                "hiems_usage_only ON realtime.messages AS RESTRICTIVE FOR SELECT TO {to}
                 USING (topic NOT LIKE 'hiems:%' OR {OWN})"
            ),
        ] {
            spi::run_utility(&format!("CREATE POLICY {sql}"))?;
        }
    }
    let is_listed: String = roles.conditions.iter().map(|is| format!(" OR {is}")).collect();
    for sql in [
        format!(
            "hiems_closed ON realtime.messages AS RESTRICTIVE FOR SELECT
             USING (topic NOT LIKE 'hiems:%'{is_listed})"
        ),
        "hiems_not_sent ON realtime.messages AS RESTRICTIVE FOR INSERT
         WITH CHECK (topic NOT LIKE 'hiems:%')"
            .to_owned(),
    ] {
        spi::run_utility(&format!("CREATE POLICY {sql}"))?;
    }
    spi::execute(SWITCH_ON, &[])
}

/// Those that are there: no notice of the others.
fn forget() -> SpiResult<()> {
    const IS_THERE: &str =
        "SELECT FROM pg_policy WHERE polrelid = to_regclass('realtime.messages') AND polname = $1";
    for name in ALL {
        if is_there(IS_THERE, &[name.into()])? {
            spi::run_utility(&format!("DROP POLICY {name} ON realtime.messages"))?;
        }
    }
    Ok(())
}

pub(super) fn drop() -> Result<Step, Error> {
    spi::execute(SWITCH_OFF, &[])?;
    if !is_there(ARE_THERE, &[])? {
        return Ok(Step::kept("broadcast", "there are no policies of hiems's"));
    }
    forget()?;
    Ok(Step::done("broadcast", "the policies on realtime.messages"))
}

/// How long the table's lock is waited for: Realtime has it for milliseconds, its owner as long as it likes.
const PATIENCE: Duration = Duration::from_secs(1);

/// After a level was given or taken: the policies are for the roles that have one. Nothing where broadcasting is
/// not enabled. The table is somebody else's, who may have changed it, or locked it: that keeps no level from being
/// taken, and is a WARNING.
pub fn follow_levels() -> Result<(), Error> {
    if !is_there(MESSAGES, &[])? {
        return Ok(());
    }
    let (roles, (made_for, count)) = (roles()?, found()?);
    if count == 0 || made_for == roles.names {
        return Ok(());
    }
    let made = match lock_messages() {
        true => savepoint::attempt(|| make(&roles)),
        false => Err(Aborted::by_lock()),
    };
    if let Err(why) = made {
        error::warn_policies(why.message);
    }
    Ok(())
}

fn lock_messages() -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !lock::try_lock_for_changing(c"realtime", c"messages") {
        if Instant::now() > deadline {
            return false;
        }
        wait::wait_for_latch(Duration::from_millis(10));
        interrupts::check();
    }
    true
}
