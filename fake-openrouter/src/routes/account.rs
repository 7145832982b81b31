//! GET /key: what the calling key has been billed. GET /credits: what the whole account has bought
//! and spent, for management keys.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::Data;
use crate::auth;
use crate::bill::Generation;
use crate::clock::Periods;
use crate::money::{self, Token};
use crate::state::State;

pub(super) async fn key(Shared(state): Shared<Arc<State>>, headers: HeaderMap) -> Response {
    let key = match auth::accepted(&headers, &state.config) {
        Ok(key) => key,
        Err(refusal) => return refusal.into_response(),
    };
    let billed = state.bill.billed(|other| other == key);
    let periods = Periods::at(OffsetDateTime::now_utc());
    let charged = Sums::of(&billed, &periods, |generation| Some(&generation.cost));
    let own = Sums::of(&billed, &periods, |generation| {
        generation.upstream_cost.as_ref().filter(|_| generation.is_byok)
    });
    super::json(&Data {
        data: Key {
            label: label(key),
            limit: (),
            limit_remaining: (),
            limit_reset: (),
            include_byok_in_limit: false,
            usage: Token(&charged.total),
            usage_daily: Token(&charged.day),
            usage_weekly: Token(&charged.week),
            usage_monthly: Token(&charged.month),
            byok_usage: Token(&own.total),
            byok_usage_daily: Token(&own.day),
            byok_usage_weekly: Token(&own.week),
            byok_usage_monthly: Token(&own.month),
            is_free_tier: false,
            is_management_key: auth::is_management(key),
            is_provisioning_key: auth::is_management(key),
            creator_user_id: "user_2fake0openrouter0account0",
            expires_at: (),
            rate_limit: json!({
                "requests": -1,
                "interval": "10s",
                "note": "This field is deprecated and safe to ignore.",
            }),
        },
    })
}

pub(super) async fn credits(Shared(state): Shared<Arc<State>>, headers: HeaderMap) -> Response {
    let bill;
    let (total_credits, total_usage) = match auth::for_management(&headers, &state.config) {
        Ok(()) => {
            bill =
                money::sum(state.bill.billed(|_| true).iter().map(|generation| &*generation.cost));
            (&*state.config.total_credits, &*bill)
        }
        Err(refusal) if refusal.status() == 403 && state.config.zero_credits => ("0", "0"),
        Err(refusal) => return refusal.into_response(),
    };
    super::json(&Data {
        data: Credits { total_credits: Token(total_credits), total_usage: Token(total_usage) },
    })
}

#[derive(Serialize)]
struct Credits<'a> {
    total_credits: Token<'a>,
    total_usage: Token<'a>,
}

/// Exact sums over the UTC calendar, as number tokens.
struct Sums {
    total: String,
    day: String,
    week: String,
    month: String,
}

impl Sums {
    fn of(
        billed: &[Generation],
        periods: &Periods,
        amount: impl Fn(&Generation) -> Option<&String>,
    ) -> Self {
        let since = |start: i64| {
            let period = billed.iter().filter(|generation| generation.created >= start);
            money::sum(period.filter_map(&amount).map(String::as_str))
        };
        Self {
            total: since(i64::MIN),
            day: since(periods.day),
            week: since(periods.week),
            month: since(periods.month),
        }
    }
}

/// `sk-or-v1-0e6...1c96`.
fn label(key: &str) -> String {
    let characters: Vec<char> = key.chars().collect();
    let tail = &characters[characters.len().saturating_sub(3)..];
    characters.iter().take(12).chain(&['.'; 3]).chain(tail).collect()
}

/// `()` fields are always null here.
#[derive(Serialize)]
struct Key<'a> {
    label: String,
    limit: (),
    limit_remaining: (),
    limit_reset: (),
    include_byok_in_limit: bool,
    usage: Token<'a>,
    usage_daily: Token<'a>,
    usage_weekly: Token<'a>,
    usage_monthly: Token<'a>,
    byok_usage: Token<'a>,
    byok_usage_daily: Token<'a>,
    byok_usage_weekly: Token<'a>,
    byok_usage_monthly: Token<'a>,
    is_free_tier: bool,
    is_management_key: bool,
    is_provisioning_key: bool,
    creator_user_id: &'a str,
    expires_at: (),
    rate_limit: Value,
}
