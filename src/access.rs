//! Levels: who may call, read, administer. The only writer of `hiems_private.access`.
//!
//! Rights are separate, not a ladder: `caller` may call and sees its own rows; `reader` sees all
//! figures and may call nothing; `admin` is both, and keys, limits, settings; `service` is a caller
//! that may name any "user". A superuser has them all.

use crate::caller;
use crate::error::Error;
use crate::pg::{identity, spi, xact};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Caller,
    Reader,
    Admin,
    Service,
}

impl Level {
    const ALL: [Level; 4] = [Level::Caller, Level::Reader, Level::Admin, Level::Service];

    /// The level of that name.
    pub fn parse(name: &str) -> Result<Level, Error> {
        Level::ALL.into_iter().find(|level| level.name() == name).ok_or_else(|| {
            Error::InvalidArgument {
                message: "unknown level".to_owned(),
                detail: format!(
                    "\"{}\" is not a level.",
                    name.chars().take(100).collect::<String>()
                ),
                hint: "The levels are caller, reader, admin and service.".to_owned(),
            }
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Level::Caller => "caller",
            Level::Reader => "reader",
            Level::Admin => "admin",
            Level::Service => "service",
        }
    }

    /// The granted levels that include this one.
    fn given_by(self) -> Vec<String> {
        let levels: &[Level] = match self {
            Level::Caller => &[Level::Caller, Level::Admin, Level::Service],
            Level::Reader => &[Level::Reader, Level::Admin],
            Level::Admin => &[Level::Admin],
            Level::Service => &[Level::Service],
        };
        levels.iter().map(|level| level.name().to_owned()).collect()
    }
}

const HAS_LEVEL: &str = "
    SELECT EXISTS (
        SELECT FROM hiems_private.access AS a
        -- Only the role that it was given to, under the name that it was given by.
        LEFT JOIN pg_roles AS r ON a.grantee_kind = 'role' AND r.rolname = a.grantee AND r.oid = a.role_oid
        WHERE a.level = ANY ($1)
          AND ((pg_has_role($2, r.oid, 'USAGE')
                -- What is left of a level after DROP OWNED is no level.
                AND EXISTS (SELECT FROM pg_namespace AS n, aclexplode(n.nspacl) AS x
                            WHERE n.nspname = 'hiems' AND x.grantee = r.oid))
               OR (a.grantee_kind = 'user' AND a.grantee = $3)))";

/// True if the current role, or the user of its token, has `level`.
pub fn has_level(level: Level) -> Result<bool, Error> {
    if identity::is_superuser() {
        return Ok(true);
    }
    let role = identity::current_role_oid();
    let arguments = [level.given_by().into(), role.into(), caller::jwt_subject().into()];
    let found = spi::read(HAS_LEVEL, &arguments, |row| row.get::<bool>(1))?;
    Ok(found.into_iter().flatten().any(|has| has))
}

/// Refuses with 42501 where the caller lacks `level`, and, for all but reading, in the maintenance of a
/// table: an index over a paid function must not spend whenever somebody's ANALYZE comes by.
pub fn require(level: Level) -> Result<(), Error> {
    if level != Level::Reader && identity::is_restricted() {
        return Err(Error::Restricted);
    }
    if has_level(level)? {
        return Ok(());
    }
    Err(Error::MissingLevel { level: level.name(), role: identity::current_role() })
}

/// As [`require`], for what changes something: refused, too, on a standby and in a read-only transaction.
pub fn require_to_change(level: Level) -> Result<(), Error> {
    if xact::is_in_recovery() || xact::is_read_only() {
        return Err(Error::ReadOnlyChange);
    }
    require(level)
}

/// Who is given a level.
#[derive(Clone, Copy)]
pub enum GranteeKind {
    /// A database role.
    Role,
    /// A token's subject.
    User,
}

impl GranteeKind {
    fn name(self) -> &'static str {
        match self {
            GranteeKind::Role => "role",
            GranteeKind::User => "user",
        }
    }
}

// What was given to another role of that name, or to this one by another name, or is left after DROP OWNED; and what
// roles had that are dropped.
const FORGET: &str = "
    DELETE FROM hiems_private.access AS a
    USING (SELECT named.oid, EXISTS (SELECT FROM pg_namespace AS n, aclexplode(n.nspacl) AS x
                                     WHERE n.nspname = 'hiems' AND x.grantee = named.oid) AS has_privilege
           FROM pg_roles AS named WHERE named.rolname = $1) AS r
    WHERE a.grantee_kind = 'role'
      AND (a.grantee = $1 AND NOT (a.role_oid IS NOT DISTINCT FROM r.oid AND r.has_privilege)
           OR a.grantee <> $1 AND a.role_oid = r.oid
           OR NOT EXISTS (SELECT FROM pg_roles AS given WHERE given.oid = a.role_oid))";
const GRANT: &str = "
    INSERT INTO hiems_private.access (grantee_kind, grantee, level) VALUES ($1, $2, $3)
    ON CONFLICT DO NOTHING";
const REVOKE: &str = "
    DELETE FROM hiems_private.access
    WHERE grantee_kind = $1 AND ($3 IS NULL OR level = $3)
      AND (grantee = $2 OR grantee_kind = 'role' AND role_oid = (SELECT oid FROM pg_roles WHERE rolname = $2))
    RETURNING true";
const LEVELS_OF_ROLE: &str = "
    SELECT FROM hiems_private.access AS a JOIN pg_roles AS r ON r.oid = a.role_oid AND r.rolname = a.grantee
    WHERE a.grantee_kind = 'role' AND a.grantee = $1";
const ROLE_EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";

/// The tables that a view of schema hiems reads with its reader's rights. Without USAGE on their schema
/// nobody can name them; row-level security decides what is seen.
const BENEATH_VIEWS: &str = "hiems_private.calls, hiems_private.queue";

/// Gives `level` to a role or a token's user. Idempotent.
pub fn grant(kind: GranteeKind, grantee: &str, level: Level) -> Result<(), Error> {
    if let GranteeKind::Role = kind {
        let exists = spi::read(ROLE_EXISTS, &[grantee.into()], |row| row.get::<bool>(1))?;
        if !exists.into_iter().flatten().any(|exists| exists) {
            return Err(Error::InvalidArgument {
                message: "unknown role".to_owned(),
                detail: format!("There is no role \"{grantee}\"."),
                hint: "For a token's user, use hiems.grant_user_access().".to_owned(),
            });
        }
    } else if grantee.is_empty() {
        return Err(Error::InvalidArgument {
            message: "the user is empty".to_owned(),
            detail: "A token's user is its claim \"sub\".".to_owned(),
            hint: String::new(),
        });
    }
    if let GranteeKind::Role = kind {
        spi::execute(FORGET, &[grantee.into()])?;
    }
    spi::execute(GRANT, &[kind.name().into(), grantee.into(), level.name().into()])?;
    if let GranteeKind::Role = kind {
        grant_privileges(grantee)?;
    }
    Ok(())
}

/// Takes `level` (None: every level) from a role and a token's user of that name. True if there was one.
pub fn revoke(grantee: &str, level: Option<Level>) -> Result<bool, Error> {
    let name = level.map(|level| level.name().to_owned());
    let mut found = false;
    for kind in [GranteeKind::Role, GranteeKind::User] {
        let arguments = [kind.name().into(), grantee.into(), name.clone().into()];
        found |= !spi::query(REVOKE, &arguments, |_| Ok(()))?.is_empty();
    }
    let exists = spi::read(ROLE_EXISTS, &[grantee.into()], |row| row.get::<bool>(1))?;
    if exists.into_iter().flatten().any(|exists| exists) {
        restore_privileges(grantee)?;
    }
    Ok(found)
}

/// Gives a role the privileges that its levels come with, and no others: what was granted by hand is undone.
pub fn reset_privileges(role: &str) -> Result<(), Error> {
    spi::execute(FORGET, &[role.into()])?;
    let quoted = pgrx::spi::quote_identifier(role);
    for object in ["ALL ROUTINES", "ALL TABLES"] {
        spi::run_utility(&format!("REVOKE ALL ON {object} IN SCHEMA hiems_private FROM {quoted}"))?;
    }
    spi::run_utility(&format!("REVOKE ALL ON SCHEMA hiems_private FROM {quoted}"))?;
    restore_privileges(role)
}

/// Nothing is PUBLIC's, whatever was granted.
pub fn close_to_public() -> Result<(), Error> {
    for object in ["ALL ROUTINES IN SCHEMA", "ALL TABLES IN SCHEMA", "SCHEMA"] {
        spi::run_utility(&format!("REVOKE ALL ON {object} hiems, hiems_private FROM PUBLIC"))?;
    }
    Ok(())
}

fn restore_privileges(role: &str) -> Result<(), Error> {
    let quoted = pgrx::spi::quote_identifier(role);
    for object in ["ALL ROUTINES", "ALL TABLES"] {
        spi::run_utility(&format!("REVOKE ALL ON {object} IN SCHEMA hiems FROM {quoted}"))?;
    }
    spi::run_utility(&format!("REVOKE ALL ON {BENEATH_VIEWS} FROM {quoted}"))?;
    spi::run_utility(&format!("REVOKE ALL ON SCHEMA hiems FROM {quoted}"))?;
    let left = spi::query(LEVELS_OF_ROLE, &[role.into()], |_| Ok(()))?;
    if !left.is_empty() {
        grant_privileges(role)?;
    }
    Ok(())
}

/// The privileges that let a role reach hiems at all. They are the same for every level, since a
/// token's user of any level comes in by a role that many share; the functions check the level, and
/// row-level security what is seen.
fn grant_privileges(role: &str) -> Result<(), Error> {
    let role = pgrx::spi::quote_identifier(role);
    spi::run_utility(&format!("GRANT USAGE ON SCHEMA hiems TO {role}"))?;
    spi::run_utility(&format!("GRANT EXECUTE ON ALL ROUTINES IN SCHEMA hiems TO {role}"))?;
    spi::run_utility(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA hiems TO {role}"))?;
    spi::run_utility(&format!("GRANT SELECT ON {BENEATH_VIEWS} TO {role}"))?;
    Ok(())
}
