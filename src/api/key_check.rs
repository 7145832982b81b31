//! What OpenRouter says of a stored key.

use pgrx::datum::{AnyNumeric, TimestampWithTimeZone};
use pgrx::iter::TableIterator;
use pgrx::prelude::*;
use serde_json::Number;

use crate::access::{self, Level};
use crate::error::{self, Error, or_raise};
use crate::openrouter::key_info::KeyInfo;
use crate::pg::{time, xact};
use crate::{gateway, keys};

/// Asks OpenRouter about a stored key, as this transaction sees it; one row. What each column is and
/// which errors there are stands in the function's comment (`sql/90_grants_comments.sql`).
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
#[allow(clippy::type_complexity)] // the SQL signature
fn verify_api_key(
    name: default!(Option<String>, "'default'"),
) -> TableIterator<
    'static,
    (
        name!(key_name, Option<String>),
        name!(kind, Option<String>),
        name!(label, Option<String>),
        name!(is_management_key, Option<bool>),
        name!(is_free_tier, Option<bool>),
        name!(limit_usd, Option<AnyNumeric>),
        name!(limit_remaining_usd, Option<AnyNumeric>),
        name!(limit_reset, Option<String>),
        name!(limit_includes_byok, Option<bool>),
        name!(usage_usd, Option<AnyNumeric>),
        name!(usage_daily_usd, Option<AnyNumeric>),
        name!(usage_weekly_usd, Option<AnyNumeric>),
        name!(usage_monthly_usd, Option<AnyNumeric>),
        name!(byok_usage_usd, Option<AnyNumeric>),
        name!(byok_usage_daily_usd, Option<AnyNumeric>),
        name!(byok_usage_weekly_usd, Option<AnyNumeric>),
        name!(byok_usage_monthly_usd, Option<AnyNumeric>),
        name!(expires_at, Option<TimestampWithTimeZone>),
    ),
> {
    let Checked { name, kind, info } = or_raise(check(name));
    let KeyInfo { usage, byok_usage: byok, .. } = info;
    TableIterator::once((
        Some(name),
        Some(kind),
        info.label,
        info.is_management_key,
        info.is_free_tier,
        numeric(info.limit),
        numeric(info.limit_remaining),
        info.limit_reset,
        info.include_byok_in_limit,
        numeric(usage.total),
        numeric(usage.daily),
        numeric(usage.weekly),
        numeric(usage.monthly),
        numeric(byok.total),
        numeric(byok.daily),
        numeric(byok.weekly),
        numeric(byok.monthly),
        info.expires_at.and_then(time::from_unix_microseconds),
    ))
}

struct Checked {
    name: String,
    kind: String,
    info: KeyInfo,
}

fn check(name: Option<String>) -> Result<Checked, Error> {
    access::require(Level::Admin)?;
    if xact::is_in_recovery() {
        return Err(Error::Standby);
    }
    let name = name.unwrap_or_else(|| "default".to_owned());
    let (stored, kind) = keys::find(&name)?;
    let info = gateway::check(stored)?;
    if info.is_management_key.is_some_and(|is| is != (kind == "management")) {
        error::warn_other_kind(&name, &kind);
    }
    Ok(Checked { name, kind, info })
}

/// The literal token, every digit.
pub(super) fn numeric(token: Option<Number>) -> Option<AnyNumeric> {
    AnyNumeric::try_from(token?.as_str()).ok()
}
