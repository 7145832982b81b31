//! hiems in a project of Supabase's: levels for its roles, the ledger in its publication, and private broadcast.
//!
//! Everything is looked up by name when it is wanted: nothing here needs Supabase to be there. It is done with
//! hiems's own rights, since Supabase's `postgres` owns neither the extension's objects nor Realtime's.

pub mod broadcast;
mod check;
mod policies;

pub use check::check;
pub use policies::follow_levels;

use pgrx::spi::SpiResult;

use crate::access::{self, GranteeKind, Level};
use crate::error::Error;
use crate::pg::spi;

/// What a step has come to.
pub struct Step {
    pub name: &'static str,
    /// 'done'; 'kept': it was so already; 'skipped': there is nothing to do it with.
    pub status: &'static str,
    pub detail: String,
    pub hint: Option<&'static str>,
}

impl Step {
    fn done(name: &'static str, detail: impl Into<String>) -> Step {
        Step { name, status: "done", detail: detail.into(), hint: None }
    }

    fn kept(name: &'static str, detail: impl Into<String>) -> Step {
        Step { status: "kept", ..Step::done(name, detail) }
    }

    fn skipped(name: &'static str, detail: impl Into<String>, hint: &'static str) -> Step {
        Step { hint: Some(hint), status: "skipped", ..Step::done(name, detail) }
    }
}

/// Whom Supabase's requests run as, and the level of each.
const LEVELS: [(&str, Option<Level>); 3] = [
    ("anon", None),
    ("authenticated", Some(Level::Caller)),
    ("service_role", Some(Level::Service)),
];

/// Opens hiems: each step may be done again.
pub fn enable() -> Result<Vec<Step>, Error> {
    broadcast::try_again();
    Ok(vec![give_levels()?, close()?, publish()?, policies::put()?, tell_postgrest()?])
}

/// Undoes [`enable`].
pub fn disable() -> Result<Vec<Step>, Error> {
    // The policies first: they call functions that the roles may not call without a level.
    Ok(vec![policies::drop()?, withdraw()?, take_levels()?, tell_postgrest()?])
}

const ROLE_EXISTS: &str = "SELECT FROM pg_roles WHERE rolname = $1";
const HAS_LEVEL: &str = "
    SELECT FROM hiems_private.access AS a JOIN pg_roles AS r ON r.rolname = a.grantee AND r.oid = a.role_oid
    WHERE a.grantee_kind = 'role' AND a.grantee = $1 AND a.level = $2
      AND EXISTS (SELECT FROM pg_namespace AS n, aclexplode(n.nspacl) AS x
                  WHERE n.nspname = 'hiems' AND x.grantee = r.oid)";

fn is_there(sql: &'static str, arguments: &[pgrx::datum::DatumWithOid]) -> SpiResult<bool> {
    Ok(!spi::read(sql, arguments, |_| Ok(()))?.is_empty())
}

fn give_levels() -> Result<Step, Error> {
    let (mut given, mut had, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for (role, level) in LEVELS {
        let Some(level) = level else { continue };
        let what = format!("{role} {}", level.name());
        if !is_there(ROLE_EXISTS, &[role.into()])? {
            missing.push(role);
        } else if is_there(HAS_LEVEL, &[role.into(), level.name().into()])? {
            had.push(what);
        } else {
            access::grant(GranteeKind::Role, role, level)?;
            given.push(what);
        }
    }
    const HINT: &str = "Once they are there, call hiems.enable_supabase() again.";
    Ok(match (given.is_empty(), missing.is_empty()) {
        (true, true) => Step::kept("levels", had.join(", ")),
        (true, false) => Step::skipped("levels", format!("no role {}", missing.join(", ")), HINT),
        (false, true) => Step::done("levels", given.join(", ")),
        (false, false) => {
            let detail = format!("{}; no role {}", given.join(", "), missing.join(", "));
            Step { hint: Some(HINT), ..Step::done("levels", detail) }
        }
    })
}

fn take_levels() -> Result<Step, Error> {
    let mut taken = Vec::new();
    for (role, level) in LEVELS {
        let Some(level) = level else { continue };
        if is_there(HAS_LEVEL, &[role.into(), level.name().into()])? {
            access::revoke(role, Some(level))?;
            taken.push(format!("{role} {}", level.name()));
        }
    }
    Ok(match taken.is_empty() {
        true => Step::kept("levels", "none was given"),
        false => Step::done("levels", taken.join(", ")),
    })
}

const DEFAULT_PRIVILEGES: &str = "
    SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I REVOKE ALL ON %s FROM %s',
                  pg_get_userbyid(d.defaclrole), n.nspname,
                  CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'f' THEN 'ROUTINES'
                                       WHEN 'S' THEN 'SEQUENCES' ELSE 'TYPES' END,
                  CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END)
    FROM pg_default_acl AS d JOIN pg_namespace AS n ON n.oid = d.defaclnamespace,
         aclexplode(d.defaclacl) AS x
    WHERE n.nspname IN ('hiems', 'hiems_private') AND x.grantee <> d.defaclrole
    GROUP BY 1";

/// What a GRANT ALL over the schemas has opened is closed again, and each level has its privileges.
fn close() -> Result<Step, Error> {
    let before = check::privileges()?;
    let defaults = spi::read(DEFAULT_PRIVILEGES, &[], |row| row.get::<String>(1))?;
    if before.is_empty() && defaults.is_empty() {
        return Ok(Step::kept("privileges", "as hiems grants them"));
    }
    access::close_to_public()?;
    for (role, _) in LEVELS {
        if is_there(ROLE_EXISTS, &[role.into()])? {
            access::reset_privileges(role)?;
        }
    }
    for sql in defaults.iter().flatten() {
        spi::run_utility(sql)?;
    }
    let mended = before.len() + defaults.len();
    let detail = format!("{mended} that were not as hiems grants them");
    Ok(match check::privileges()?.first() {
        None => Step::done("privileges", detail),
        Some(left) => {
            const HINT: &str =
                "Who granted it has to revoke it, or a superuser: REVOKE ... GRANTED BY ...";
            Step { hint: Some(HINT), ..Step::done("privileges", format!("{detail}; left: {left}")) }
        }
    })
}

const PUBLICATION: &str =
    "SELECT puballtables FROM pg_publication WHERE pubname = 'supabase_realtime'";
const IS_PUBLISHED: &str = "
    SELECT FROM pg_publication_tables
    WHERE pubname = 'supabase_realtime' AND schemaname = 'hiems' AND tablename = 'ai_usage_logs'";
const IS_MEMBER: &str = "
    SELECT FROM pg_publication_rel AS m JOIN pg_publication AS p ON p.oid = m.prpubid
    WHERE p.pubname = 'supabase_realtime' AND m.prrelid = 'hiems.ai_usage_logs'::regclass";

/// True while Realtime is told of every change of the ledger.
pub fn is_ledger_published() -> SpiResult<bool> {
    is_there(IS_PUBLISHED, &[])
}

fn publish() -> Result<Step, Error> {
    let found = spi::read(PUBLICATION, &[], |row| row.get::<bool>(1))?;
    if found.is_empty() {
        const HINT: &str =
            "Realtime makes none by itself: CREATE PUBLICATION supabase_realtime, and call again.";
        return Ok(Step::skipped("publication", "no publication supabase_realtime", HINT));
    }
    if is_there(IS_PUBLISHED, &[])? {
        return Ok(Step::kept("publication", "hiems.ai_usage_logs is in supabase_realtime"));
    }
    spi::run_utility("ALTER PUBLICATION supabase_realtime ADD TABLE hiems.ai_usage_logs")?;
    Ok(Step::done("publication", "hiems.ai_usage_logs into supabase_realtime"))
}

fn withdraw() -> Result<Step, Error> {
    if !is_there(IS_MEMBER, &[])? {
        return Ok(Step::kept(
            "publication",
            "hiems.ai_usage_logs was not added to supabase_realtime",
        ));
    }
    spi::run_utility("ALTER PUBLICATION supabase_realtime DROP TABLE hiems.ai_usage_logs")?;
    Ok(Step::done("publication", "hiems.ai_usage_logs out of supabase_realtime"))
}

// A full queue fails the transactions that notify.
const TELL_POSTGREST: &str = "
    SELECT pg_notify('pgrst', 'reload schema') WHERE pg_notification_queue_usage() <= 0.9";

fn tell_postgrest() -> Result<Step, Error> {
    if is_there(TELL_POSTGREST, &[])? {
        return Ok(Step::done("api", "told PostgREST to read its schemas again"));
    }
    const HINT: &str = "Later: NOTIFY pgrst, 'reload schema'.";
    Ok(Step::skipped("api", "PostgreSQL's queue of messages is nearly full", HINT))
}
